"""Compute the input vectors of the LSTMs."""

"""Vectors of units, below the LSTMs."""

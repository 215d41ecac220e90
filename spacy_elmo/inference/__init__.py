"""Compute the layers of sentences on any machine."""

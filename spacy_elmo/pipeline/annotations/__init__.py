"""Vectors on a Doc, their alignment with tokens, and access to them."""

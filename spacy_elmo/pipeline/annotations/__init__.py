"""What lies on a Doc: vectors, their alignment with tokens, and access to them."""

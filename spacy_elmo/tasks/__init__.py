"""Components that a user trains on top of the biLM."""

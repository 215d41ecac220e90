"""From sentences to layers, on any machine."""

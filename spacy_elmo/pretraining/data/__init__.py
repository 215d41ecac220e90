"""Convert raw text to batches of ids."""

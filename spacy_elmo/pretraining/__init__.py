"""Train a biLM on raw text: corpus, batches, training loop, checkpoints."""

"""How a biLM's layers are computed on a CPU: packed batches, weights packed once, several backends."""

"""Raw text -> biLM: segmentation, shards of unit ids, batches, the training loop, checkpoints."""

"""The network in torch: configuration, vocabulary, layers, losses, and the model folder."""

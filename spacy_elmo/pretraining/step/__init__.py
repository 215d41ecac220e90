"""One step of training: losses, gradients, CUDA graphs."""

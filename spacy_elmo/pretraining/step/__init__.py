"""Compute one step of training: losses, gradients, CUDA graphs."""

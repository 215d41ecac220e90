"""Fused operations, without a network: the native kernel's binding, and Triton's kernels."""

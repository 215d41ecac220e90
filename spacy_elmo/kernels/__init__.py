"""Fused operations, without a network: the binding of the native kernel, and Triton kernels."""

"""Fused operations that do not depend on the network: the native kernel and Triton kernels."""

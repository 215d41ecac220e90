"""Sigmoid and tanh whose elements do not depend on the size of the array.

torch.sigmoid computes the last elements of an array, and of each thread's share of it, with other
instructions than the rest. These functions therefore pass arrays of whole SIMD vectors, each too small to be
split among threads. torch.tanh has no such seam, but uses MKL, which is ten times slower on AMD.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

VECTOR = 32  # most elements that torch computes with one instruction: two registers of AVX-512
UNSHARED = 32768 - VECTOR  # torch splits arrays of at least 32768 elements among threads


def sigmoid_(x: Tensor) -> Tensor:
    """Compute 1 / (1 + e^-x), in place if x is contiguous and consists of whole vectors.

    Float32, any shape.
    """
    n = x.numel()
    flat = F.pad(x.reshape(-1), (0, -n % VECTOR)) if n % VECTOR else x.reshape(-1)
    for part in flat.split(UNSHARED):
        part.sigmoid_()
    return flat[:n].view(x.shape)


def tanh(x: Tensor) -> Tensor:
    """Compute 2 sigmoid(2x) - 1, within 1e-6 of tanh. Float32, any shape."""
    return sigmoid_(x * 2).mul_(2).sub_(1)


class SigmoidBuffer:
    """Buffer whose sigmoid is computed repeatedly: the views that sigmoid_ needs are made once."""

    def __init__(self, *shape: int):
        n = math.prod(shape)
        flat = torch.zeros(n + -n % VECTOR)
        self.array = flat[:n].view(shape)
        self._parts = flat.split(UNSHARED)

    def sigmoid_(self) -> None:
        """Apply the sigmoid to the buffer in place."""
        for part in self._parts:
            part.sigmoid_()

"""Sigmoid and tanh whose elements do not depend on how many there are.

torch.sigmoid computes the last elements of an array, and of each thread's share of it, with other
instructions than the rest. So it is given arrays of whole vectors, each too small to be shared among threads.
torch.tanh has no such seam, but goes through MKL, which is ten times slower on AMD.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

VECTOR = 32  # elements that torch computes at once, at most: two registers of AVX-512
UNSHARED = 32768 - VECTOR  # torch shares out what has at least 32768 elements


def sigmoid_(x: Tensor) -> Tensor:
    """1 / (1 + e^-x), in place where x is contiguous and of whole vectors. Float32, any shape."""
    n = x.numel()
    flat = F.pad(x.reshape(-1), (0, -n % VECTOR)) if n % VECTOR else x.reshape(-1)
    for part in flat.split(UNSHARED):
        part.sigmoid_()
    return flat[:n].view(x.shape)


def tanh(x: Tensor) -> Tensor:
    """2 sigmoid(2x) - 1, within 1e-6 of tanh. Float32, any shape."""
    return sigmoid_(x * 2).mul_(2).sub_(1)


class SigmoidBuffer:
    """Room for an array whose sigmoid is wanted again and again: what sigmoid_ looks up is looked up once."""

    def __init__(self, *shape: int):
        n = math.prod(shape)
        flat = torch.zeros(n + -n % VECTOR)
        self.array = flat[:n].view(shape)
        self._parts = flat.split(UNSHARED)

    def sigmoid_(self) -> None:
        """In place, as above."""
        for part in self._parts:
            part.sigmoid_()

"""Tables of n-grams on disk in 8 bits a number: they are half of a small model, and are only looked up.

A row is int8 times a scale of its own, so that a number is off by at most 1/250 of its row's largest.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

STATIC = "static_vectors"
NAMES = ("encoder.ngrams.weight", STATIC)
SCALE = ".scale"  # behind a table's name: (rows,) float32


def to_int8(name: str, table: Tensor) -> dict[str, Tensor]:
    """A table (rows, columns) and its scales, by the names that they have on disk."""
    table = table.float()
    scale = table.abs().amax(1) / 127
    rounded = (table / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round().to(torch.int8)
    return {name: rounded} if name == STATIC else {name: rounded, name + SCALE: scale}


def from_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of a model with its tables put together again, the inverse of to_int8.

    Static vectors stay as they are: each is scaled to the same size when it is looked up (bilm.static), so
    that they need no scale of their own.
    """
    found = dict(tensors)
    found.pop(STATIC + SCALE, None)
    for name in NAMES:
        table, scale = found.get(name), found.get(name + SCALE)
        if table is not None and scale is not None and table.ndim == 2 and scale.shape == table.shape[:1]:
            found[name] = table.float() * found.pop(name + SCALE)[:, None]
    return found


def in_memory(name: str, tensor: Tensor) -> Tensor:
    """A tensor of a file as from_int8 wants it: float32, static vectors and tables in 8 bits as they are."""
    return tensor if name == STATIC or tensor.dtype == torch.int8 else tensor.float()

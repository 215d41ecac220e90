"""Tables of n-grams on disk in 8 bits a number: they are half of a small model, and are only looked up.

A row is int8 times a scale of its own, so that a number is off by at most 1/254 of its row's largest.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

NAMES = ("encoder.ngrams.weight", "static_vectors")
SCALE = ".scale"  # behind a table's name: (rows,) float32


def to_int8(name: str, table: Tensor) -> dict[str, Tensor]:
    """A table (rows, columns) and its scales, by the names that they have on disk."""
    scale = table.float().abs().amax(1) / 127
    rounded = (table / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round()
    return {name: rounded.to(torch.int8), name + SCALE: scale}


def from_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of a model with its tables put together again, in float32; the inverse of to_int8."""
    found = dict(tensors)
    for name in NAMES:
        table, scale = found.get(name), found.get(name + SCALE)
        if table is not None and scale is not None and table.ndim == 2 and scale.shape == table.shape[:1]:
            found[name] = table.float() * found.pop(name + SCALE)[:, None]
    return found

"""Tables of n-grams on disk in 8 bits a number: they are half of a small model, and are only looked up.

A row is int8 times a scale of its own, so that a number is off by at most 1/250 of its row's largest.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

STATIC = "static_vectors"
NAMES = ("encoder.ngrams.weight", STATIC)
SCALE = ".scale"  # behind a table's name: (rows,) float32
ROWS = 4096  # that are put together at once


def to_int8(name: str, table: Tensor) -> dict[str, Tensor]:
    """A table (rows, columns) and its scales, by the names that they have on disk."""
    table = table.float()
    # The largest in half precision, as it is in memory: what is read and written again stays the same.
    scale = table.abs().amax(1).half().float() / 127
    rounded = (table / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round().clamp(-127, 127)
    return {name: rounded.to(torch.int8), name + SCALE: scale}


def from_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of a model with its tables put together again, the inverse of to_int8: in float32, static
    vectors, which nothing is trained with, in float16."""
    found = dict(tensors)
    for name in NAMES:
        table, scale = found.get(name), found.get(name + SCALE)
        if table is not None and scale is not None and table.ndim == 2 and scale.shape == table.shape[:1]:
            found[name] = _multiplied(table, found.pop(name + SCALE), half=name == STATIC)
    return found


def in_memory(name: str, tensor: Tensor) -> Tensor:
    """A tensor of a file as from_int8 wants it: float32, static vectors and tables in 8 bits as they are."""
    return tensor if name == STATIC or tensor.dtype == torch.int8 else tensor.float()


def _multiplied(table: Tensor, scale: Tensor, *, half: bool) -> Tensor:
    """In parts, so that no more memory is needed than stays."""
    out = torch.empty(table.shape, dtype=torch.float16 if half else torch.float32)
    for rows in torch.arange(len(table)).split(ROWS):
        out[rows] = (table[rows].float() * scale[rows, None]).to(out.dtype)
    return out

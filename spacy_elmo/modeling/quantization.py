"""Tables of n-grams on disk in 8 bits a number: they are half of a small model, and are only looked up.

A row is int8 times a scale of its own, so that a number is off by at most 1/250 of its row's largest.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

STATIC_TENSOR = "static_vectors"
QUANTIZED_TENSORS = ("token_encoder.ngram_embedding.weight", STATIC_TENSOR)
SCALE_SUFFIX = ".scale"  # behind a table's name: (rows,) float32


def quantize_rows(name: str, table: Tensor) -> dict[str, Tensor]:
    """A table (rows, columns) and its scales, by the names that they have on disk."""
    table = table.float()
    scale = table.abs().amax(1) / 127
    rounded = (table / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round().to(torch.int8)
    return {name: rounded} if name == STATIC_TENSOR else {name: rounded, name + SCALE_SUFFIX: scale}


def dequantize_rows(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of a model with its tables put together again, the inverse of quantize_rows.

    Static vectors stay as they are: each is scaled to the same size when it is looked up
    (modeling.static_vectors), so that they need no scale of their own.
    """
    found = dict(tensors)
    found.pop(STATIC_TENSOR + SCALE_SUFFIX, None)
    for name in QUANTIZED_TENSORS:
        table, scale = found.get(name), found.get(name + SCALE_SUFFIX)
        if table is not None and scale is not None and table.ndim == 2 and scale.shape == table.shape[:1]:
            found[name] = table.float() * found.pop(name + SCALE_SUFFIX)[:, None]
    return found


def upcast_unless_int8(name: str, tensor: Tensor) -> Tensor:
    """A tensor of a file as dequantize_rows wants it: float32, static vectors and tables in 8 bits as they
    are.
    """
    return tensor if name == STATIC_TENSOR or tensor.dtype == torch.int8 else tensor.float()

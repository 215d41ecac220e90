"""Choose the types of weights on disk, and quantise the n-gram and static-vector tables to int8, row by row.

The tables make up half of a small model and are only used for lookups. A row is int8 times its own scale, so
the error of a value is at most 1/250 of the largest value of its row.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

NGRAM_TENSOR, STATIC_TENSOR = "token_encoder.ngram_embedding.weight", "static_vectors"
QUANTIZED_TENSORS = (NGRAM_TENSOR, STATIC_TENSOR)
SCALE_SUFFIX = ".scale"  # after the name of a table: its scales, (rows,) float32

StoredType = torch.dtype | Literal["smallest"] | None
"""Type of weights on disk; "smallest": the smallest types that hold the same bits; None: unchanged."""


def stored_tensors(tensors: Mapping[str, Tensor], dtype: StoredType) -> dict[str, Tensor]:
    """Return tensors as they are stored, by their names on disk. torch.float16: tables become int8."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().contiguous()
        if dtype == "smallest":
            stored |= smallest_exact(name, values)
        elif dtype == torch.float16 and name in QUANTIZED_TENSORS:
            stored |= quantize_rows(name, values)
        else:
            stored[name] = values.to(dtype or values.dtype)
    return stored


def quantize_rows(name: str, table: Tensor) -> dict[str, Tensor]:
    """Return a table (rows, columns) as int8, and its scales, by their names on disk."""
    table = table.float()
    scale = table.abs().amax(1) / 127
    rounded = (table / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round().to(torch.int8)
    return {name: rounded} if name == STATIC_TENSOR else {name: rounded, name + SCALE_SUFFIX: scale}


def dequantize_rows(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return all tensors with the tables in float32, the inverse of quantize_rows.

    Static vectors stay int8: each is normalised when it is looked up (modeling.static_vectors), so they need
    no scales.
    """
    found = dict(tensors)
    found.pop(STATIC_TENSOR + SCALE_SUFFIX, None)
    for name in QUANTIZED_TENSORS:
        table, scale = found.get(name), found.get(name + SCALE_SUFFIX)
        if table is not None and scale is not None and table.ndim == 2 and scale.shape == table.shape[:1]:
            found[name] = table.float() * found.pop(name + SCALE_SUFFIX)[:, None]
    return found


def smallest_exact(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Return a tensor in the smallest type from which loading makes the same bits, by the names on disk.

    Weights that were loaded from float16 and int8 become so again; trained ones stay float32. A table of
    static vectors, which keeps its type when it is loaded, is unchanged.
    """
    if tensor.dtype != torch.float32 or name == STATIC_TENSOR:
        return {name: tensor}
    if name == NGRAM_TENSOR:
        quantized = quantize_rows(name, tensor)
        if same_bits(dequantize_rows(quantized)[name], tensor):
            return quantized
    half = tensor.half()
    return {name: half if same_bits(half.float(), tensor) else tensor}


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Return whether two float32 tensors have the same bits, so that 0.0 differs from -0.0."""
    return torch.equal(a.view(torch.int32), b.view(torch.int32))


def upcast_unless_int8(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor in float32, unless it is int8 or a table of static vectors."""
    return tensor if name == STATIC_TENSOR or tensor.dtype == torch.int8 else tensor.float()

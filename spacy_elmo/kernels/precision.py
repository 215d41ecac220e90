"""Choose the compute dtype for a device (f32, bf16 or int16)."""

from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import ElmoError
from .binding import fastest_compute_type

Precision = Literal["auto", "f32", "bf16", "int16"]

DTYPE_NAMES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.int16: "int16"}


def cpu_supports(probe: str) -> bool:
    """Return the result of one of torch.cpu's probes. They are private: a missing one means False."""
    return bool(getattr(torch.cpu, probe, lambda: False)())


def has_native_bf16(device: torch.device) -> bool:
    """Return whether bfloat16 products are faster than float32 on the device, because it supports them."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return cpu_supports("_is_avx512_bf16_supported") or cpu_supports("_is_amx_tile_supported")


def check_precision(precision: str) -> None:
    """Raise an ElmoError unless `precision` is one of Precision."""
    if precision not in get_args(Precision):
        *options, last = (f'"{option}"' for option in get_args(Precision))
        raise ElmoError(f'precision = "{precision}" is not known: use {", ".join(options)} or {last}.')


def resolve_compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the type of the products. "auto": the fastest on the device.

    With the native kernel, "auto" is the dtype that the kernel prefers on this processor: bfloat16 (only if
    supported), int16 or float32. Without it, "auto" is bfloat16 if the device supports it, else float32.
    "int16" becomes float32 on a GPU and without the kernel. Raises an ElmoError for an unknown precision.
    """
    check_precision(precision)
    fastest = fastest_compute_type() if device.type == "cpu" else None
    if precision == "auto":
        precision = fastest or ("bf16" if has_native_bf16(device) else "f32")
    elif precision == "int16" and fastest is None:
        precision = "f32"
    return next(dtype for dtype, name in DTYPE_NAMES.items() if name == precision)


def round_to_fp16(layers: Tensor) -> Tensor:
    """Round float32 values to half precision, which is finer than bf16. Values too large for it stay."""
    rounded = layers.half().float()
    return torch.where(rounded.isinf(), layers, rounded)

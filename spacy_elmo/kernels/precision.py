"""Which arithmetic a device is good at, and which one inference and training take."""

from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import ElmoError
from .binding import fastest_compute_type

Precision = Literal["auto", "f32", "bf16", "int16"]

DTYPE_NAMES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.int16: "int16"}


def cpu_supports(probe: str) -> bool:
    """What one of torch.cpu's probes says. They are private: absent means no."""
    return bool(getattr(torch.cpu, probe, lambda: False)())


def has_native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 here: they are where the processor has them."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_supports("_is_avx512_bf16_supported") or cpu_supports("_is_amx_tile_supported")


def check_precision(precision: str) -> None:
    """Raise an ElmoError unless `precision` is one of Precision."""
    if precision not in get_args(Precision):
        *options, last = (f'"{option}"' for option in get_args(Precision))
        raise ElmoError(f'precision = "{precision}" is not known: use {", ".join(options)} or {last}.')


def resolve_compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Type of the products. "auto": what the device is fastest at.

    With the native kernel that is what the kernel says of the processor, bfloat16 (only where the processor
    has it), int16 or float32; without it bfloat16 where the device has it natively, else float32. "int16" is
    float32 on a GPU and without that kernel. Raises an ElmoError for a precision that is not known.
    """
    check_precision(precision)
    fastest = fastest_compute_type() if device.type == "cpu" else None
    if precision == "auto":
        precision = fastest or ("bf16" if has_native_bf16(device) else "f32")
    elif precision == "int16" and fastest is None:
        precision = "f32"
    return next(dtype for dtype, name in DTYPE_NAMES.items() if name == precision)


def round_to_fp16(layers: Tensor) -> Tensor:
    """Rounded to half precision, which tells more than bf16 does; what is too large for it stays. Float32."""
    rounded = layers.half().float()
    return torch.where(rounded.isinf(), layers, rounded)

"""Which arithmetic a device is good at, and which one inference and training take."""

from typing import Literal, get_args

import torch
from torch import Tensor

from .errors import ElmoError
from .inference.library import has_fast_int16, instruction_sets

Precision = Literal["auto", "f32", "bf16", "int16"]

NAMES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.int16: "int16"}


def has_native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 here: they are where the processor has them."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private to torch: absent means no
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in probes)


def check_precision(precision: str) -> None:
    """Raise an ElmoError unless `precision` is one of Precision."""
    if precision not in get_args(Precision):
        *options, last = (f'"{option}"' for option in get_args(Precision))
        raise ElmoError(f'precision = "{precision}" is not known: use {", ".join(options)} or {last}.')


def product_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Type of the products. "auto": what the device is fastest at.

    That is bfloat16 where the device has it natively, else int16 where the native kernel is there and the
    processor multiplies that faster, else float32. "int16" is float32 on a GPU and without that kernel.
    Raises an ElmoError for a precision that is not known.
    """
    check_precision(precision)
    if precision == "bf16" or (precision == "auto" and has_native_bf16(device)):
        return torch.bfloat16
    int16 = precision == "int16" or (precision == "auto" and has_fast_int16())
    return torch.int16 if int16 and device.type == "cpu" and instruction_sets() else torch.float32


def as_half(layers: Tensor) -> Tensor:
    """Rounded to half precision, which tells more than bf16 does; what is too large for it stays. Float32."""
    rounded = layers.half().float()
    return torch.where(rounded.isinf(), layers, rounded)

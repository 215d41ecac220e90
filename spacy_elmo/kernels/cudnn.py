"""What cuDNN is asked for: LSTMs in bfloat16 where it has them, and float32 that is float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn


@cache
def cudnn_supports_lstm(dtype: torch.dtype) -> bool:
    """Whether torch gives LSTMs of this type to cuDNN. In bfloat16 that began with cuDNN 9.13 and torch 2.10;
    before, nn.LSTM goes through a loop of small operations, or fails."""
    try:
        with torch.inference_mode(False), torch.enable_grad():
            layer = nn.LSTM(8, 8).to("cuda", dtype)
            y = layer(torch.zeros(1, 1, 8, device="cuda", dtype=dtype))[0]
    except RuntimeError:
        return False
    made = [y.grad_fn]
    for node in made:  # all that y comes of
        made += [other for other, _ in node.next_functions if other is not None] if node is not None else []
    return any("Cudnn" in node.name() for node in made if node is not None)


@contextmanager
def no_tf32() -> Iterator[None]:
    """Products in float32 as such: cuDNN would round their inputs to 10 bits (TF32)."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before

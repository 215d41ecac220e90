"""Check the capabilities of cuDNN: bf16 LSTMs, and a context manager that disables TF32."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn


@cache
def cudnn_supports_lstm(dtype: torch.dtype) -> bool:
    """Return whether torch runs LSTMs of this type in cuDNN.

    bfloat16 needs cuDNN 9.13 and torch 2.10. Older versions run nn.LSTM as a loop of small operations, or
    fail.
    """
    try:
        with torch.inference_mode(False), torch.enable_grad():
            layer = nn.LSTM(8, 8).to("cuda", dtype)
            y = layer(torch.zeros(1, 1, 8, device="cuda", dtype=dtype))[0]
    except RuntimeError:
        return False
    nodes = [y.grad_fn]
    for node in nodes:  # walk the autograd graph of y
        nodes += [other for other, _ in node.next_functions if other is not None] if node is not None else []
    return any("Cudnn" in node.name() for node in nodes if node is not None)


@contextmanager
def no_tf32() -> Iterator[None]:
    """Disable TF32 in cuDNN, which would round float32 inputs of products to 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before

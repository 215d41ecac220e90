"""What training needs between its matrix products, in one pass each: LSTM cells and the softmax. On the CPU.

A step of an LSTM is two small products and a dozen elementwise operations; torch runs these one after
another, each through memory. The native kernel (see inference/native/training.h) runs them in one; where it
was not built, torch's own operations take its place (see lstm.py, objective.py).
"""

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .inference.library import instruction_sets, library

DTYPES = (torch.float32, torch.bfloat16)


class Kernels:
    """The functions of the native kernel that training calls. isa: number of an instruction set."""

    def __init__(self, native: ctypes.CDLL, isa: int):
        pointer, size, number = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
        common = [number, number, size, size]
        self._isa = isa
        self._forward, self._backward = native.elmo_cells_forward, native.elmo_cells_backward
        self._cross_entropy = native.elmo_cross_entropy
        self._forward.argtypes = self._backward.argtypes = [*common, *[pointer] * 6]
        self._forward.restype = self._backward.restype = None
        self._cross_entropy.argtypes = [*common, *[pointer] * 3]
        self._cross_entropy.restype = ctypes.c_double

    def cells_forward(
        self, x: Tensor, h: Tensor, before: Tensor, gates: Tensor, c: Tensor, m: Tensor
    ) -> None:
        """One step of B cells: i, f, g, o of x + h to `gates`, the cell state to `c`, o * tanh(c) to `m`.

        x, h, gates: (B, 4H); m: (B, H), of one dtype; before, c: (B, H) float32. All contiguous.
        """
        tensors = (x, h, before, gates, c, m)
        self._forward(self._isa, _is_half(x), *c.shape, *(t.data_ptr() for t in tensors))

    def cells_backward(
        self, gates: Tensor, before: Tensor, c: Tensor, d_m: Tensor, d_c: Tensor, d_sums: Tensor
    ) -> None:
        """Gradients of a step: `d_c` becomes that of `before`; writes that of x + h to `d_sums` (B, 4H)."""
        tensors = (gates, before, c, d_m, d_c, d_sums)
        self._backward(self._isa, _is_half(gates), *c.shape, *(t.data_ptr() for t in tensors))

    def cross_entropy(self, logits: Tensor, bias: Tensor, targets: Tensor) -> float:
        """Sum of -log softmax(logits + bias)[target]; the logits become the gradient of their own.

        logits: (N, V) contiguous; bias: (V,) float32; targets: (N,) int64.
        """
        tensors = (logits, bias.contiguous(), targets.contiguous())
        return float(
            self._cross_entropy(self._isa, _is_half(logits), *logits.shape, *(t.data_ptr() for t in tensors))
        )


def _is_half(x: Tensor) -> bool:
    return x.dtype == torch.bfloat16


@cache
def _kernels() -> Kernels | None:
    native = library()
    return None if native is None else Kernels(native, next(iter(instruction_sets().values())))


def kernels(x: Tensor) -> Kernels | None:
    """The native kernel where it is built and fits a tensor's device and dtype, else None."""
    return _kernels() if x.device.type == "cpu" and x.dtype in DTYPES else None


class LSTMFunction(torch.autograd.Function):
    """A layer of nn.LSTM with the native kernel (formulas: lstm.Direction, without clips).

    Every product that does not wait for a state is made for all steps at once: those of the inputs on the
    way forward, those of the weights' gradients on the way back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, w_hr: Tensor | None) -> Tensor:
        """x: (T, B, P); weights as nn.LSTM has them, of one dtype; bias: (4H,). Returns (T, B, P)."""
        native = kernels(x)
        assert native is not None
        steps, rows, _ = x.shape
        hidden, width = w_hh.shape[0] // 4, w_hh.shape[1]
        sums = F.linear(x, w_ih, bias)  # (T, B, 4H)
        gates, c = torch.empty_like(sums), x.new_zeros(steps + 1, rows, hidden, dtype=torch.float32)
        m = x.new_zeros(steps + 1, rows, hidden)  # a step's at t + 1, as all states: t + 1 is behind step t
        h = m if w_hr is None else x.new_zeros(steps + 1, rows, width)
        recurrent = x.new_empty(rows, 4 * hidden)
        down = w_hh.t()
        for t in range(steps):
            torch.mm(h[t], down, out=recurrent)
            native.cells_forward(sums[t], recurrent, c[t], gates[t], c[t + 1], m[t + 1])
            if w_hr is not None:
                torch.mm(m[t + 1], w_hr.t(), out=h[t + 1])
        ctx.save_for_backward(x, w_ih, w_hh, w_hr, gates, c, m, h)
        return h[1:]

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        x, w_ih, w_hh, w_hr, gates, c, m, h = ctx.saved_tensors
        native = kernels(x)
        assert native is not None
        steps = len(x)
        d_h = d_y.clone(memory_format=torch.contiguous_format)  # (T, B, P)
        d_sums, d_c = torch.empty_like(gates), torch.zeros_like(c[0])
        d_m, d_before = torch.empty_like(m[0]), torch.empty_like(d_h[0])
        for t in reversed(range(steps)):
            if w_hr is not None:
                torch.mm(d_h[t], w_hr, out=d_m)
            native.cells_backward(gates[t], c[t], c[t + 1], d_h[t] if w_hr is None else d_m, d_c, d_sums[t])
            if t:
                d_h[t - 1] += torch.mm(d_sums[t], w_hh, out=d_before)
        flat, inputs = d_sums.flatten(0, 1), x.flatten(0, 1)
        across = flat.t()
        d_w_hr = None if w_hr is None else d_h.flatten(0, 1).t() @ m[1:].flatten(0, 1)
        d_x = (flat @ w_ih).view_as(x)
        return d_x, across @ inputs, across @ h[:-1].flatten(0, 1), column_sums(flat), d_w_hr


def column_sums(x: Tensor) -> Tensor:
    """(N, F) -> (F,). As a product: torch's sum over the rows of a bf16 matrix is several times slower."""
    return (x.new_ones(1, len(x)) @ x)[0]

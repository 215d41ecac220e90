"""Fuse the operations between matrix products on a GPU: LSTM cells and the softmax.

A step of an LSTM is two small products and a dozen elementwise operations, which torch runs one after
another, each through memory. Triton kernels fuse them. Without Triton, torch's own operations are used (see
lstm.py, cross_entropy.py). On the CPU the native kernel computes whole layers: native_training.py.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..locks import BuildOnce

DTYPES = (torch.float32, torch.bfloat16)


class FusedOps(Protocol):
    """Fused operations. All tensors are contiguous."""

    def lstm_cell_forward(
        self, x: Tensor, h: Tensor, c_prev: Tensor, gates: Tensor, c: Tensor, m: Tensor
    ) -> None:
        """Compute one step of B cells: i, f, g, o of x + h to `gates`, cell state to `c`, o * tanh(c) to `m`.

        x, h, gates: (B, 4H); m: (B, H), all of one dtype; c_prev, c: (B, H) float32.
        """
        ...

    def lstm_cell_backward(
        self, gates: Tensor, c_prev: Tensor, c: Tensor, d_out: Tensor, d_c: Tensor, d_sums: Tensor
    ) -> None:
        """Compute gradients of a step: `d_c` becomes that of `c_prev`, `d_sums` (B, 4H) that of x + h."""
        ...

    def cross_entropy(self, logits: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of -log softmax(logits + bias)[target]; the logits are replaced by their gradient.

        logits: (N, V). bias: (V,) float32, -inf for padding columns. targets: (N,) int64; negative ones do
        not count.
        """
        ...


@BuildOnce
def _triton_ops() -> FusedOps | None:
    try:
        from .triton_ops import TritonFusedOps
    except ImportError:  # as on Windows
        return None
    return TritonFusedOps()


BY_DEVICE: dict[str, Callable[[], FusedOps | None]] = {"cuda": _triton_ops}


def fused_ops_for(x: Tensor) -> FusedOps | None:
    """Return the fused operations for a tensor's device and dtype, or None if there are none."""
    make = BY_DEVICE.get(x.device.type)
    return make() if make is not None and x.dtype in DTYPES else None


class LSTMFunction(torch.autograd.Function):
    """A layer of nn.LSTM with fused operations (formulas: lstm.LSTMStack, without clips).

    Products that do not depend on a state are computed for all steps together: those of the inputs in the
    forward pass, those of the weight gradients in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, w_hr: Tensor | None) -> Tensor:
        """Return the outputs (T, B, P) for x (T, B, P). Weights as in nn.LSTM, of one dtype; bias: (4H,)."""
        ops = fused_ops_for(x)
        assert ops is not None
        steps, rows, _ = x.shape
        hidden, width = w_hh.shape[0] // 4, w_hh.shape[1]
        sums = F.linear(x, w_ih, bias)  # (T, B, 4H)
        gates = sums if x.is_cuda else torch.empty_like(sums)
        c = _alloc_states(x, steps, rows, hidden, torch.float32)
        m = _alloc_states(x, steps, rows, hidden, x.dtype)
        h = m if w_hr is None else _alloc_states(x, steps, rows, width, x.dtype)
        recurrent = x.new_empty(rows, 4 * hidden)
        down = w_hh.t()
        sums_, gates_, c_, m_, h_ = (t.unbind(0) for t in (sums, gates, c, m, h))  # indexing takes longer
        for t in range(steps):
            torch.mm(h_[t], down, out=recurrent)
            ops.lstm_cell_forward(sums_[t], recurrent, c_[t], gates_[t], c_[t + 1], m_[t + 1])
            if w_hr is not None:
                torch.mm(m_[t + 1], w_hr.t(), out=h_[t + 1])
        ctx.save_for_backward(x, w_ih, w_hh, w_hr, gates, c, m, h)
        return h[1:]

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, w_ih, w_hh, bias and w_hr."""
        x, w_ih, w_hh, w_hr, gates, c, m, h = ctx.saved_tensors
        ops = fused_ops_for(x)
        assert ops is not None
        d_h = d_y.clone(memory_format=torch.contiguous_format)  # (T, B, P)
        d_sums, d_c = torch.empty_like(gates), torch.zeros_like(c[0])
        d_out, d_before = torch.empty_like(m[0]), torch.empty_like(d_h[0])
        gates_, c_, d_h_, d_sums_ = (t.unbind(0) for t in (gates, c, d_h, d_sums))
        for t in reversed(range(len(x))):
            if w_hr is not None:
                torch.mm(d_h_[t], w_hr, out=d_out)
            d_m_t = d_h_[t] if w_hr is None else d_out
            ops.lstm_cell_backward(gates_[t], c_[t], c_[t + 1], d_m_t, d_c, d_sums_[t])
            if t and x.is_cuda:
                d_h_[t - 1].addmm_(d_sums_[t], w_hh)
            elif t:
                d_h_[t - 1].add_(torch.mm(d_sums_[t], w_hh, out=d_before))
        flat, inputs = d_sums.flatten(0, 1), x.flatten(0, 1)
        across = flat.t()
        d_w_hr = None if w_hr is None else d_h.flatten(0, 1).t() @ m[1:].flatten(0, 1)
        d_x = (flat @ w_ih).view_as(x)
        return d_x, across @ inputs, across @ h[:-1].flatten(0, 1), column_sums(flat), d_w_hr


def _alloc_states(x: Tensor, steps: int, rows: int, width: int, dtype: torch.dtype) -> Tensor:
    """Allocate the states of all steps, (T + 1, B, width): step t's at t + 1, and zeros at 0."""
    states = x.new_empty(steps + 1, rows, width, dtype=dtype)
    states[0].zero_()
    return states


def column_sums(x: Tensor) -> Tensor:
    """Sum the columns, (N, F) -> (F,).

    On the CPU as a product: torch's sum of bf16 rows is several times slower.
    """
    if x.is_cuda:
        return x.sum(0, dtype=torch.float32).to(x.dtype)
    return (x.new_ones(1, len(x)) @ x)[0]

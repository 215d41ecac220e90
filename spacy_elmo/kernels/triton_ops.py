"""Implement kernels.fused_ops for CUDA in Triton: fused LSTM cells and softmax.

Triton comes with torch's CUDA builds on Linux; without it, cuDNN and torch's own operations are used. Each
program reads a row (a part of a row of cells) and writes its results. All values are computed in float32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

CELL_BLOCK, VOCAB_BLOCK = 1024, 4096  # values of a row that a program holds at a time

# Lanes without a unit start here, not at -inf, because -inf - -inf is NaN.
NEG_LARGE = tl.constexpr(-1e30)


# Triton compiles the functions below and does not understand type annotations.
# mypy: disable-error-code="no-untyped-def"


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def _read(pointer, inside):
    return tl.load(pointer, mask=inside, other=0).to(tl.float32)


@triton.jit
def _lstm_cell_forward_kernel(x, h, c_prev, gates, c, m, hidden, clip, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = col < hidden
    at, cell = row * 4 * hidden + col, row * hidden + col
    i = tl.sigmoid(_read(x + at, inside) + _read(h + at, inside))
    f = tl.sigmoid(_read(x + at + hidden, inside) + _read(h + at + hidden, inside))
    g = _tanh(_read(x + at + 2 * hidden, inside) + _read(h + at + 2 * hidden, inside))
    o = tl.sigmoid(_read(x + at + 3 * hidden, inside) + _read(h + at + 3 * hidden, inside))
    state = f * _read(c_prev + cell, inside) + i * g
    state = tl.minimum(tl.maximum(state, -clip), clip)
    tl.store(gates + at, i, mask=inside)
    tl.store(gates + at + hidden, f, mask=inside)
    tl.store(gates + at + 2 * hidden, g, mask=inside)
    tl.store(gates + at + 3 * hidden, o, mask=inside)
    tl.store(c + cell, state, mask=inside)
    tl.store(m + cell, o * _tanh(state), mask=inside)


@triton.jit
def _lstm_cell_backward_kernel(gates, c_prev, c, d_out, d_c, d_sums, hidden, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = col < hidden
    at, cell = row * 4 * hidden + col, row * hidden + col
    i, f = _read(gates + at, inside), _read(gates + at + hidden, inside)
    g, o = _read(gates + at + 2 * hidden, inside), _read(gates + at + 3 * hidden, inside)
    tanh_c, d_y = _tanh(_read(c + cell, inside)), _read(d_out + cell, inside)
    d_state = _read(d_c + cell, inside) + d_y * o * (1 - tanh_c * tanh_c)
    tl.store(d_sums + at, d_state * g * i * (1 - i), mask=inside)
    tl.store(d_sums + at + hidden, d_state * _read(c_prev + cell, inside) * f * (1 - f), mask=inside)
    tl.store(d_sums + at + 2 * hidden, d_state * i * (1 - g * g), mask=inside)
    tl.store(d_sums + at + 3 * hidden, d_y * tanh_c * o * (1 - o), mask=inside)
    tl.store(d_c + cell, d_state * f, mask=inside)


@triton.jit
def _cross_entropy_kernel(logits, bias, targets, losses, units, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    logits += row * units
    lane = tl.arange(0, BLOCK)
    top, total = tl.full([BLOCK], NEG_LARGE, tl.float32), tl.zeros([BLOCK], tl.float32)
    for start in range(0, units, BLOCK):
        col = start + lane
        x = tl.load(logits + col, mask=col < units, other=float("-inf")).to(tl.float32)
        x += tl.load(bias + col, mask=col < units, other=0)
        new_max = tl.maximum(top, x)
        total = total * tl.exp(top - new_max) + tl.exp(x - new_max)
        top = new_max
    row_max = tl.max(top, 0)
    logsumexp = row_max + tl.log(tl.sum(total * tl.exp(top - row_max), 0))
    target = tl.load(targets + row)
    counted = tl.where(target >= 0, 1.0, 0.0)
    known = tl.maximum(target, 0)
    loss = logsumexp - tl.load(logits + known).to(tl.float32) - tl.load(bias + known)
    tl.store(losses + row, loss * counted)
    tl.debug_barrier()  # the target's logit is read before another thread puts its gradient there
    for start in range(0, units, BLOCK):
        col = start + lane
        x = tl.load(logits + col, mask=col < units, other=float("-inf")).to(tl.float32)
        x += tl.load(bias + col, mask=col < units, other=0)
        gradient = (tl.exp(x - logsumexp) - tl.where(col == target, 1.0, 0.0)) * counted
        tl.store(logits + col, gradient, mask=col < units)


class TritonFusedOps:
    """Operations of kernels.fused_ops.FusedOps for tensors on a GPU. They are asynchronous."""

    def lstm_cell_forward(
        self,
        x: Tensor,
        h: Tensor,
        c_prev: Tensor,
        gates: Tensor,
        c: Tensor,
        m: Tensor,
        clip: float = float("inf"),
    ) -> None:
        """Compute one step, see FusedOps. clip: bound of the cell states.

        `gates` may be `x`, and `c` may be `c_prev`.
        """
        rows, hidden = c.shape
        _lstm_cell_forward_kernel[rows, triton.cdiv(hidden, CELL_BLOCK)](
            x, h, c_prev, gates, c, m, hidden, clip, BLOCK=CELL_BLOCK
        )

    def lstm_cell_backward(
        self, gates: Tensor, c_prev: Tensor, c: Tensor, d_out: Tensor, d_c: Tensor, d_sums: Tensor
    ) -> None:
        """Compute the gradients of a step, see FusedOps."""
        rows, hidden = c.shape
        grid = rows, triton.cdiv(hidden, CELL_BLOCK)
        _lstm_cell_backward_kernel[grid](gates, c_prev, c, d_out, d_c, d_sums, hidden, BLOCK=CELL_BLOCK)

    def cross_entropy(self, logits: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """Return the loss and replace the logits, see FusedOps. The sum is a tensor on the GPU."""
        losses = torch.empty(len(logits), device=logits.device)
        _cross_entropy_kernel[(len(logits),)](
            logits, bias, targets.contiguous(), losses, logits.shape[1], BLOCK=VOCAB_BLOCK, num_warps=8
        )
        return losses.sum()

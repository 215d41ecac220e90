"""Train on the CPU in the native kernel: a layer of one direction, and the softmax with its loss.

Weights are packed for each step. Products use AMX tiles if the processor has them. Cells and exponentials are
computed while their inputs are in the cache (native/lstm_training-inl.h, native/cross_entropy-inl.h).
Results have the same bits for any number of threads. Without the kernel, torch computes the same (lstm.py,
cross_entropy.py).
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..locks import ForkSafeLock
from .binding import available, call, check_shape, target_number

LARGE_BYTES = 1 << 21  # bytes from which large pages are requested
DTYPES = (None, torch.float32, torch.bfloat16)


def trains(x: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Return whether the kernel trains on this input with products of `dtype` (None: that of the input)."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and dtype in DTYPES and available()


def rows_by_step(lengths: Tensor, steps: int) -> Tensor:
    """Return the number of rows that each step computes: (B,) lengths -> (steps,) int64.

    A step computes a row if this row or a later one has a unit there. With descending lengths no row is
    computed in vain.
    """
    longest = lengths.flip(0).cummax(0).values  # from each row on, the last one first
    return (longest[:, None] > torch.arange(steps)[None]).sum(0)


class BufferPool:
    """Pool of buffers for the values that a step keeps, and for its workspace.

    Later steps reuse the buffers, because the first access to a page is slow.
    """

    MAX_BUFFERS = 16

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._lock = ForkSafeLock()

    def acquire(self, size: int) -> Tensor:
        """Return a buffer of at least `size` bytes."""
        with self._lock:
            fitting = [i for i, buffer in enumerate(self._free) if size <= len(buffer) <= 2 * size]
            if fitting:
                return self._free.pop(min(fitting, key=lambda i: len(self._free[i])))
        if size < LARGE_BYTES or not hasattr(mmap, "MADV_HUGEPAGE"):
            return torch.empty(size, dtype=torch.uint8)
        memory = mmap.mmap(-1, -(-size // LARGE_BYTES) * LARGE_BYTES)
        memory.madvise(mmap.MADV_HUGEPAGE)
        return torch.frombuffer(memory, dtype=torch.uint8)

    def release(self, buffer: Tensor) -> None:
        """Return a buffer to the pool."""
        with self._lock:
            self._free = [*self._free[-self.MAX_BUFFERS + 1 :], buffer]

    @contextmanager
    def borrow(self, size: int) -> Iterator[Tensor]:
        """Lend a buffer of at least `size` bytes to a `with` block."""
        buffer = self.acquire(size)
        try:
            yield buffer
        finally:
            self.release(buffer)


BUFFERS = BufferPool()


class NativeLayer(torch.autograd.Function):
    """A layer of nn.LSTM (formulas: lstm.LSTMStack, without clips)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        bias: Tensor,
        w_hr: Tensor | None,
        sizes: Tensor,
        use_bf16: bool,
    ) -> Tensor:
        """Compute the states of a layer: (B, T, P) -> (B, T, P) float32, zeros after the end of a sentence.

        Weights as in nn.LSTM; bias: (4H,); sizes: see rows_by_step. use_bf16: products in bfloat16, with sums
        and cell states in float32.
        """
        rows, steps, width = x.shape
        hidden = w_hh.shape[0] // 4
        check_shape("weight_ih", w_ih, (4 * hidden, width))
        check_shape("weight_hh", w_hh, (4 * hidden, width))
        check_shape("bias", bias, (4 * hidden,))
        if w_hr is not None:
            check_shape("weight_hr", w_hr, (width, hidden))
        _check_sizes(sizes, rows, steps)
        shape = {
            "target": target_number(None),
            "use_bf16": use_bf16,
            "n_sentences": rows,
            "n_steps": steps,
            "projection_dim": width,
            "hidden_size": hidden,
            "has_projection": w_hr is not None,
            "batch_sizes": sizes,
            "n_threads": torch.get_num_threads(),
        }
        needed = torch.zeros(2, dtype=torch.int64)
        call("elmo_lstm_workspace", needed, **shape)
        saved = BUFFERS.acquire(int(needed[0]))
        weights = w_ih.contiguous(), w_hh.contiguous(), bias.contiguous()
        projection = None if w_hr is None else w_hr.contiguous()
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        arrays = dict(zip(("w_ih", "w_hh", "bias"), weights, strict=True))
        call("elmo_lstm_forward", **shape, **arrays, w_hr=projection, x=x.contiguous(), y=y, saved=saved)
        if not any(ctx.needs_input_grad):
            BUFFERS.release(saved)
            return y
        ctx.save_for_backward(*weights[:2], projection, sizes)
        del shape["batch_sizes"]  # saved as a tensor
        ctx.shape, ctx.saved, ctx.workspace_bytes = shape, saved, int(needed[1])
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, w_ih, w_hh, bias and w_hr."""
        w_ih, w_hh, w_hr, sizes = ctx.saved_tensors
        found = [torch.empty_like(w_ih), torch.empty_like(w_hh), w_ih.new_empty(len(w_ih))]
        d_w_hr = None if w_hr is None else torch.empty_like(w_hr)
        d_y = d_y.contiguous()
        d_x = torch.empty_like(d_y)
        shape = {**ctx.shape, "batch_sizes": sizes, "n_threads": torch.get_num_threads()}
        with BUFFERS.borrow(ctx.workspace_bytes) as workspace:
            call(
                "elmo_lstm_backward",
                **shape,
                w_ih=w_ih,
                w_hh=w_hh,
                w_hr=w_hr,
                saved=ctx.saved,
                d_y=d_y,
                workspace=workspace,
                d_x=d_x,
                **dict(zip(("d_w_ih", "d_w_hh", "d_bias"), found, strict=True)),
                d_w_hr=d_w_hr,
            )
        BUFFERS.release(ctx.saved)
        del ctx.saved  # a second backward pass would read values that others have overwritten
        return d_x, *found, d_w_hr, None, None


def _check_sizes(sizes: Tensor, rows: int, steps: int) -> None:
    check_shape("sizes", sizes, (steps,))
    if int(sizes.min()) < 0 or int(sizes.max()) > rows or bool((sizes.diff() > 0).any()):
        raise ValueError(f"The rows of each step must be 0 to {rows} and must not increase.")


def recurrence_forward(sums: Tensor, w_hh: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the recurrent part of an LSTM: gates (N, 4H), cell states (N, H) and outputs (N, H).

    sums: (N, 4H) float32, of the inputs and biases of i, f, g, o, step by step; the gates overwrite them.
    w_hh: (4H, H). sizes: (T,) int64, rows of each step, which continue the first rows of the step before.
    Raises a ValueError for shapes or sizes that do not fit.
    """
    hidden = w_hh.shape[1]
    check_shape("sums", sums, (len(sums), 4 * hidden))
    c, m = (sums.new_empty(len(sums), hidden) for _ in range(2))
    _call_recurrence("elmo_lstm_recurrence_forward", sums, c, m, w_hh, sizes)
    return sums, c, m


def recurrence_backward(gates: Tensor, c: Tensor, w_hh: Tensor, d_m: Tensor, sizes: Tensor) -> Tensor:
    """Return the gradients of the sums (N, 4H); they overwrite the gates.

    gates, c, w_hh, sizes: see recurrence_forward. d_m: (N, H) gradients of the outputs, to which those that
    come through later steps are added. Raises a ValueError for shapes or sizes that do not fit.
    """
    _call_recurrence("elmo_lstm_recurrence_backward", gates, c, d_m, w_hh, sizes)
    return gates


def _call_recurrence(name: str, gates: Tensor, c: Tensor, m: Tensor, w_hh: Tensor, sizes: Tensor) -> None:
    rows, hidden = len(gates), w_hh.shape[1]
    check_shape("weight_hh", w_hh, (4 * hidden, hidden))
    check_shape("gates", gates, (rows, 4 * hidden))
    check_shape("c", c, (rows, hidden))
    check_shape("m", m, (rows, hidden))
    check_shape("sizes", sizes, (len(sizes),))
    if len(sizes):
        _check_sizes(sizes, rows, len(sizes))
    if int(sizes.sum()) != rows:
        raise ValueError(f"The steps have {int(sizes.sum())} rows, but there are {rows}.")
    call(
        name,
        target=target_number(None),
        n_steps=len(sizes),
        hidden_size=hidden,
        batch_sizes=sizes,
        w_hh=w_hh.contiguous(),
        gates=gates,
        c=c,
        m=m,
        n_threads=torch.get_num_threads(),
    )


def softmax_loss(
    x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, use_bf16: bool, gradients: bool
) -> tuple[Tensor, list[Tensor | None]]:
    """Return the sum of -log softmax(x W^T + b)[target], and its gradients for x, W and b if wanted.

    x: (N, P) float32; weight: (V, P); bias: (V,); targets: (N,), where negative ones do not count. use_bf16:
    products in bfloat16. Raises an IndexError for a target that is not a unit.
    """
    n, width = x.shape
    units = len(weight)
    check_shape("weight", weight, (units, width))
    check_shape("bias", bias, (units,))
    check_shape("targets", targets, (n,))
    if n and int(targets.max()) >= units:
        raise IndexError(f"Target {int(targets.max())} is outside the {units} units.")
    tensors = [t.detach().contiguous() for t in (x, weight, bias)]
    found = [torch.empty_like(t) if gradients else None for t in tensors]
    loss = torch.zeros((), dtype=torch.float64)
    shape = {
        "target": target_number(None),
        "use_bf16": use_bf16,
        "n_targets": n,
        "n_inputs": width,
        "n_classes": units,
        "with_gradients": gradients,
        "n_threads": torch.get_num_threads(),
    }
    with BUFFERS.borrow(call("elmo_cross_entropy_workspace", **shape)) as workspace:
        call(
            "elmo_cross_entropy",
            **shape,
            **dict(zip(("x", "weight", "bias"), tensors, strict=True)),
            targets=targets.contiguous(),
            workspace=workspace,
            loss=loss,
            **dict(zip(("d_x", "d_weight", "d_bias"), found, strict=True)),
        )
    return loss.float(), found

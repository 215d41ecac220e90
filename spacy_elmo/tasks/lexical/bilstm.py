"""A bidirectional LSTM as an encoder: a thinc layer, whose weights are thinc's, computed with torch.

The weights are parameters of the layer, not of a wrapped torch module, so that they are averaged and saved
like those of every other layer, and nothing is unpickled. On a CPU, the native kernel computes the recurrent
part, and torch the large products.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from thinc.api import Model, torch2xp, xp2torch
from thinc.types import Floats2d
from torch import Tensor
from torch.nn import functional as F

from ...batching import minibatch_by_size
from ...kernels.fused_ops import fused_ops_for
from ...kernels.native_training import recurrence_backward, recurrence_forward, trains
from ...kernels.precision import Precision, check_precision, resolve_compute_dtype
from ...pipeline.layers.scalar_mix import dropout_mask
from ...text import split_evenly
from .crf import Packing

NAME = "elmo-bilstm"
BATCH_TOKENS = 4096  # tokens per batch in prediction
MAX_LENGTH = 512  # longest sequence; longer ones are split
CONTEXT = 32  # additional tokens on either side of a split, whose outputs are dropped
DIRECTIONS = ("forward", "backward")
WEIGHTS = ("W_ih", "W_hh", "b")


def BiLSTM(
    nO: int | None, nI: int | None = None, *, dropout: float = 0.0, precision: Precision = "auto"
) -> Model[Any, Any]:
    """List[Floats2d (n, nI)] -> List[Floats2d (n, nO)], [forward; backward] states of nO / 2 cells each.

    Params: forward_W_ih (4H, nI), forward_W_hh (4H, H), forward_b (4H,), the gates in torch's order i, f, g,
    o, and the same of backward. Sequences longer than MAX_LENGTH are read in parts with CONTEXT around them.
    nO: width of the output; None: set dimension nO before initialize.
    dropout: dropout rate of the input in training; spaCy sets it to [training] dropout.
    precision: type of the products with the input, which are by far the largest. "auto" is bfloat16 if the
    processor supports it, else float32.
    """
    check_precision(precision)
    if nO is not None and (nO % 2 or nO < 2):
        raise ValueError(
            f"A BiLSTM has two directions of equal width, so width {nO} is not possible: give an even width."
        )
    params: dict[str, Any] = {f"{direction}_{name}": None for direction in DIRECTIONS for name in WEIGHTS}
    attrs = {"dropout_rate": dropout, "precision": precision}
    return Model(NAME, forward, init=init, dims={"nO": nO, "nI": nI}, params=params, attrs=attrs)


def forward(
    model: Model[Any, Any], Xs: Sequence[Floats2d], is_train: bool
) -> tuple[list[Floats2d], Callable[..., Any]]:
    """Compute the states."""
    if not is_train:
        return _predict(model, Xs), _no_gradient
    ops: Any = model.ops
    packing = Packing([len(X) for X in Xs])
    flat = ops.flatten(list(Xs))
    mask = dropout_mask(ops, flat.shape, model.attrs["dropout_rate"])
    X = xp2torch(flat if mask is None else flat * mask)
    runs = [_Run(model, direction, X, packing) for direction in DIRECTIONS]
    Y = torch.cat([run.output for run in runs], 1)  # (N, nO), tokens in order

    def backprop(dYs: Sequence[Floats2d]) -> list[Floats2d]:
        dY = xp2torch(ops.flatten(list(dYs)))
        halves = dY.chunk(2, 1)
        ahead, back = (run.backward(half) for run, half in zip(runs, halves, strict=True))
        dX: Any = torch2xp(ahead + back)
        dX = dX if mask is None else dX * mask
        dXs: list[Floats2d] = ops.unflatten(dX, ops.asarray1i(packing.lengths))
        return dXs

    return ops.unflatten(torch2xp(Y), ops.asarray1i(packing.lengths)), backprop


def init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    """Draw the weights, again in a second initialization."""
    if X is not None and model.has_dim("nI") is None:
        model.set_dim("nI", X[0].shape[1])
    hidden, inputs = model.get_dim("nO") // 2, model.get_dim("nI")
    ops: Any = model.ops
    for direction in DIRECTIONS:
        for name, columns in (("W_ih", inputs), ("W_hh", hidden)):
            limit = (6.0 / (hidden + columns)) ** 0.5  # Glorot, of each gate by itself
            drawn = np.random.uniform(-limit, limit, (4 * hidden, columns)).astype("f")
            model.set_param(f"{direction}_{name}", ops.asarray2f(drawn))
        b = ops.alloc1f(4 * hidden)
        b[hidden : 2 * hidden] = 1.0  # remember at first (Jozefowicz et al. 2015)
        model.set_param(f"{direction}_b", b)


class _Run:
    """One direction over the tokens of a batch, with the values that its gradient needs.

    Formulas: modeling.lstm.LSTMStack, without projection and clips. output: (N, H), tokens in order.
    """

    def __init__(self, model: Model[Any, Any], direction: str, X: Tensor, packing: Packing):
        self.model, self.direction, self.steps = model, direction, packing.steps()
        self.sizes = torch.from_numpy(packing.sizes)
        self.dtype = _product_dtype(model.attrs["precision"], X.device)
        rows = packing.rows if direction == DIRECTIONS[0] else packing.reversed_rows
        self.rows = torch.from_numpy(rows).to(X.device)
        self.x = torch.empty_like(X, dtype=self.dtype)
        self.x[self.rows] = X.to(self.dtype)
        self.w_ih, self.w_hh, b = (xp2torch(model.get_param(f"{direction}_{name}")) for name in WEIGHTS)
        with torch.no_grad():
            self._forward(b)
            self.output = self.m[self.rows]

    def _forward(self, b: Tensor) -> None:
        sums = F.linear(self.x, self.w_ih.to(self.dtype), b.to(self.dtype)).float()  # (N, 4H)
        if trains(sums):
            self.gates, self.c, self.m = recurrence_forward(sums, self.w_hh, self.sizes)
            return
        cells = fused_ops_for(b) or _TORCH
        hidden = sums.shape[1] // 4
        self.gates = torch.empty_like(sums)
        self.c, self.m = (sums.new_empty(len(sums), hidden) for _ in range(2))
        n_sequences = self.steps[0][1] if self.steps else 0
        self.zeros = sums.new_zeros(n_sequences, hidden)
        recurrent = sums.new_zeros(n_sequences, 4 * hidden)
        down = self.w_hh.t()
        for step, (first, last) in enumerate(self.steps):
            size = last - first
            c_before, h_before = self._before(step, size)
            if step:
                torch.mm(h_before, down, out=recurrent[:size])
            cells.lstm_cell_forward(
                sums[first:last],
                recurrent[:size],
                c_before,
                self.gates[first:last],
                self.c[first:last],
                self.m[first:last],
            )

    def _before(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Cells and outputs of the step before, of the sequences that continue."""
        if not step:
            return self.zeros, self.zeros
        begin = self.steps[step - 1][0]
        return self.c[begin : begin + size], self.m[begin : begin + size]

    def backward(self, d_output: Tensor) -> Tensor:
        """Increment the gradients of the weights; returns that of the input (N, nI), tokens in order."""
        with torch.no_grad():
            d_h = torch.empty_like(self.m)
            d_h[self.rows] = d_output
            d_sums = self._backward(d_h)
            before = self._outputs_before()
            rounded = d_sums.to(self.dtype)
            gradients = ((rounded.t() @ self.x).float(), d_sums.t() @ before, d_sums.sum(0))
            for name, gradient in zip(WEIGHTS, gradients, strict=True):
                self.model.inc_grad(f"{self.direction}_{name}", cast(Any, torch2xp(gradient)))
            return (rounded @ self.w_ih.to(self.dtype)).float()[self.rows]

    def _outputs_before(self) -> Tensor:
        """Return the outputs (N, H) of the step before each row; zeros before the first step."""
        before = torch.zeros_like(self.m)
        if self.steps:
            n_first = self.steps[0][1]
            shift = torch.repeat_interleave(self.sizes[:-1], self.sizes[1:])  # rows from one step to the next
            rows = torch.arange(n_first, len(before)) - shift
            before[n_first:] = self.m[rows.to(self.m.device)]
        return before

    def _backward(self, d_h: Tensor) -> Tensor:
        if trains(self.c):
            return recurrence_backward(self.gates.clone(), self.c, self.w_hh, d_h, self.sizes)
        cells = fused_ops_for(self.c) or _TORCH
        d_sums, d_c = torch.empty_like(self.gates), torch.zeros_like(self.zeros)
        for step in reversed(range(len(self.steps))):
            first, last = self.steps[step]
            size = last - first
            c_before, _ = self._before(step, size)
            cells.lstm_cell_backward(
                self.gates[first:last],
                c_before,
                self.c[first:last],
                d_h[first:last],
                d_c[:size],
                d_sums[first:last],
            )
            if step:
                begin = self.steps[step - 1][0]
                d_h[begin : begin + size] += d_sums[first:last] @ self.w_hh
        return d_sums


def _predict(model: Model[Any, Any], Xs: Sequence[Floats2d]) -> list[Floats2d]:
    """Compute the states without a gradient, in batches of similar length; long sequences are split."""
    pieces: list[tuple[Any, ...]] = [(i, *cut) for i, X in enumerate(Xs) for cut in _pieces(len(X))]
    pieces.sort(key=lambda piece: piece[2] - piece[1])
    Ys = [model.ops.alloc2f(len(X), model.get_dim("nO")) for X in Xs]
    for batch in minibatch_by_size(pieces, BATCH_TOKENS, lambda piece: piece[2] - piece[1]):
        packing = Packing([end - begin for _, begin, end, _, _ in batch])
        X = xp2torch(model.ops.xp.concatenate([Xs[i][begin:end] for i, begin, end, _, _ in batch]))
        Y = torch.cat([_Run(model, direction, X, packing).output for direction in DIRECTIONS], 1)
        start = 0
        found = torch2xp(Y)
        for i, begin, end, first, last in batch:
            Ys[i][first:last] = found[start + first - begin : start + last - begin]
            start += end - begin
    return Ys


def _pieces(n: int) -> list[tuple[int, int, int, int]]:
    """Return how a sequence is split: what is read (begin, end), and which outputs are kept (first, last)."""
    return [
        (max(0, first - CONTEXT), min(n, last + CONTEXT), first, last) if n > MAX_LENGTH else (0, n, 0, n)
        for first, last in split_evenly(n, MAX_LENGTH)
    ]


def _product_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    dtype = resolve_compute_dtype(precision, device)
    return dtype if dtype == torch.bfloat16 else torch.float32


def _no_gradient(dY: Any) -> list[Any]:
    raise ValueError("A prediction has no gradient: call begin_update instead.")


class _TorchKernels:
    """Compute the steps of kernels.fused_ops in torch's own operations, where no fused ones exist."""

    def lstm_cell_forward(
        self, x: Tensor, h: Tensor, c_prev: Tensor, gates: Tensor, c: Tensor, m: Tensor
    ) -> None:
        """Compute what FusedOps says of this function."""
        i, f, g, o = (x + h).chunk(4, 1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        torch.cat([i, f, g, o], 1, out=gates)
        torch.add(f * c_prev, i * g, out=c)
        torch.mul(o, torch.tanh(c), out=m)

    def lstm_cell_backward(
        self, gates: Tensor, c_prev: Tensor, c: Tensor, d_out: Tensor, d_c: Tensor, d_sums: Tensor
    ) -> None:
        """Compute what FusedOps says of this function."""
        i, f, g, o = gates.chunk(4, 1)
        t = torch.tanh(c)
        dc = d_c + d_out * o * (1 - t * t)
        sums = (
            dc * g * i * (1 - i),
            dc * c_prev * f * (1 - f),
            dc * i * (1 - g * g),
            d_out * t * o * (1 - o),
        )
        torch.cat(sums, 1, out=d_sums)
        d_c.copy_(dc * f)


_TORCH = _TorchKernels()

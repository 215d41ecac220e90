"""A bidirectional LSTM as an encoder: a thinc layer, whose weights are thinc's, computed with torch.

The weights are parameters of the layer, not of a wrapped torch module, so that they are averaged and saved
like those of every other layer, and nothing is unpickled. On a CPU the native kernel computes the LSTMs.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from thinc.api import Model, torch2xp, xp2torch
from thinc.types import Floats2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from ...batching import minibatch_by_size
from ...kernels.native_training import NativeLayer, trains
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
    nO: int | None,
    nI: int | None = None,
    *,
    reduce: bool = True,
    dropout: float = 0.0,
    precision: Precision = "auto",
) -> Model[Any, Any]:
    """List[Floats2d (n, nI)] -> List[Floats2d (n, nO)], [forward; backward] states of H = nO / 2 cells each.

    Params: forward_W_ih (4H, columns), forward_W_hh (4H, H), forward_b (4H,), the gates in torch's order i,
    f, g, o, and the same of backward. Sequences longer than MAX_LENGTH are read in pieces with CONTEXT around
    them.
    nO: None: set dimension nO before initialize.
    reduce: a linear layer, W (2H, nI) and b (2H,), first reduces the input to H columns for each direction.
        Wide inputs are three times as fast with it, and not less accurate. Else each LSTM reads all nI.
    dropout: of the input in training; spaCy sets it to [training] dropout.
    precision: of the products: "auto" is bfloat16 where the processor has it, else float32.
    """
    check_precision(precision)
    if nO is not None and (nO % 2 or nO < 2):
        raise ValueError(
            f"A BiLSTM has two directions of equal width, so width {nO} is not possible: give an even width."
        )
    names = [f"{direction}_{name}" for direction in DIRECTIONS for name in WEIGHTS]
    params: dict[str, Any] = dict.fromkeys([*names, *(["W", "b"] if reduce else [])])
    attrs = {"dropout_rate": dropout, "precision": precision, "reduce": reduce}
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
    run = _Run(model, xp2torch(flat if mask is None else flat * mask), packing, is_train=True)

    def backprop(dYs: Sequence[Floats2d]) -> list[Floats2d]:
        dX: Any = torch2xp(run.backward(xp2torch(ops.flatten(list(dYs)))))
        return ops.unflatten(dX if mask is None else dX * mask, ops.asarray1i(packing.lengths))

    return ops.unflatten(torch2xp(run.output), ops.asarray1i(packing.lengths)), backprop


def init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    """Draw the weights."""
    if X is not None and model.has_dim("nI") is None:
        model.set_dim("nI", X[0].shape[1])
    if model.has_param(f"{DIRECTIONS[0]}_b"):
        return
    hidden, inputs = model.get_dim("nO") // 2, model.get_dim("nI")
    ops: Any = model.ops
    if model.attrs["reduce"]:
        model.set_param("W", ops.asarray2f(_glorot(2 * hidden, inputs, (6.0 / (hidden + inputs)) ** 0.5)))
        model.set_param("b", ops.alloc1f(2 * hidden))
        inputs = hidden
    for direction in DIRECTIONS:
        for name, columns in (("W_ih", inputs), ("W_hh", hidden)):
            limit = (6.0 / (hidden + columns)) ** 0.5  # for each gate separately
            model.set_param(f"{direction}_{name}", ops.asarray2f(_glorot(4 * hidden, columns, limit)))
        b = ops.alloc1f(4 * hidden)
        b[hidden : 2 * hidden] = 1.0  # open forget gates (Jozefowicz et al. 2015)
        model.set_param(f"{direction}_b", b)


def _glorot(rows: int, columns: int, limit: float) -> np.ndarray:
    return np.random.uniform(-limit, limit, (rows, columns)).astype("f")


class _Run:
    """Both directions over the tokens of a batch, with what the gradient needs.

    output: (N, 2H), tokens in order.
    """

    def __init__(self, model: Model[Any, Any], X: Tensor, packing: Packing, *, is_train: bool):
        self.model = model
        dtype = _product_dtype(model.attrs["precision"], X.device)
        self.reduces = model.attrs["reduce"]
        self.x = X.to(dtype)
        if self.reduces:
            self.W = xp2torch(model.get_param("W")).to(dtype)
            inputs = F.linear(self.x, self.W, xp2torch(model.get_param("b")).to(dtype)).float().chunk(2, 1)
        else:
            inputs = (X, X)
        self.directions = [
            _Direction(
                x,
                [xp2torch(model.get_param(f"{name}_{weight}")) for weight in WEIGHTS],
                _Layout.of(packing, x.device, reverse=name != DIRECTIONS[0]),
                half=dtype == torch.bfloat16,
                is_train=is_train,
            )
            for name, x in zip(DIRECTIONS, inputs, strict=True)
        ]
        self.output = torch.cat([direction.output for direction in self.directions], 1)

    def backward(self, d_output: Tensor) -> Tensor:
        """Increment the gradients of the weights. Returns that of the input (N, nI), tokens in order."""
        d_inputs = []
        for name, direction, half in zip(DIRECTIONS, self.directions, d_output.chunk(2, 1), strict=True):
            d_input, gradients = direction.backward(half)
            d_inputs.append(d_input)
            for weight, gradient in zip(WEIGHTS, gradients, strict=True):
                self.model.inc_grad(f"{name}_{weight}", cast(Any, torch2xp(gradient)))
        if not self.reduces:
            return d_inputs[0] + d_inputs[1]
        d_reduced = torch.cat(d_inputs, 1)
        rounded = d_reduced.to(self.x.dtype)
        self.model.inc_grad("W", cast(Any, torch2xp((rounded.t() @ self.x).float())))
        self.model.inc_grad("b", cast(Any, torch2xp(d_reduced.sum(0))))
        return (rounded @ self.W).float()


class _Layout(NamedTuple):
    """Where the tokens of a direction lie in what its LSTM reads."""

    rows: Tensor
    """(N,) of each token, in a packed sequence"""
    places: Tensor
    """(N,) of each token, in a padded batch (B * T)"""
    sizes: Tensor
    """(T,) sequences of each step"""
    shape: tuple[int, int]
    """(B, T), longest sequence first"""

    @classmethod
    def of(cls, packing: Packing, device: torch.device, *, reverse: bool) -> "_Layout":
        rows = packing.reversed_rows if reverse else packing.rows
        steps = np.searchsorted(packing.starts, rows, side="right") - 1
        T = len(packing.sizes)
        places = (rows - packing.starts[steps]) * T + steps
        on_device = [torch.from_numpy(array).to(device) for array in (rows, places)]
        sizes = torch.from_numpy(np.ascontiguousarray(packing.sizes, dtype=np.int64))
        return cls(on_device[0], on_device[1], sizes, (len(packing.lengths), T))


class _Direction:
    """One direction. output: (N, H), tokens in order."""

    def __init__(self, x: Tensor, weights: list[Tensor], layout: _Layout, *, half: bool, is_train: bool):
        self.native = trains(x) and x.shape[1] >= weights[1].shape[1]
        self.rows = layout.places if self.native else layout.rows
        n_rows = layout.shape[0] * layout.shape[1] if self.native else len(x)
        self.laid_out = x.new_zeros(n_rows, x.shape[1])
        self.laid_out[self.rows] = x
        self.weights = [weight.detach() for weight in weights]
        for tensor in (self.laid_out, *self.weights):
            tensor.requires_grad_(is_train)
        with torch.set_grad_enabled(is_train):
            if not len(x):
                self.states = x.new_zeros(0, weights[1].shape[1])
            elif self.native:
                self.states = _native_states(self.laid_out, self.weights, layout, half)
            else:
                self.states = _torch_states(self.laid_out, self.weights, layout)
        self.output = self.states.detach()[self.rows]

    def backward(self, d_output: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the gradients of the input (N, I), tokens in order, and of the weights."""
        if not len(d_output):
            return self.laid_out.detach(), [torch.zeros_like(weight) for weight in self.weights]
        d_states = torch.zeros_like(self.states)
        d_states[self.rows] = d_output
        found = torch.autograd.grad(self.states, [self.laid_out, *self.weights], d_states)
        return found[0][self.rows], list(found[1:])


def _native_states(x: Tensor, weights: Sequence[Tensor], layout: _Layout, half: bool) -> Tensor:
    """Compute states (B * T, H) from inputs (B * T, I) in the native kernel.

    It needs as many input columns as states; missing columns are zeros.
    """
    w_ih, w_hh, b = weights
    hidden, columns = w_hh.shape[1], x.shape[1]
    w_hr = None if columns == hidden else torch.eye(columns, hidden)
    w_hh = F.pad(w_hh, (0, columns - hidden))
    y = NativeLayer.apply(x.view(*layout.shape, columns), w_ih, w_hh, b, w_hr, layout.sizes, half)  # type: ignore[no-untyped-call]
    return y.view(len(x), columns)[:, :hidden]


def _torch_states(x: Tensor, weights: Sequence[Tensor], layout: _Layout) -> Tensor:
    """Compute packed states (N, H) from packed inputs (N, I) in torch."""
    w_ih, w_hh, b = weights
    lstm = nn.LSTM(x.shape[1], w_hh.shape[1], device="meta")
    names = [name for name, _ in lstm.named_parameters()]
    tensors = dict(zip(names, (w_ih, w_hh, b, torch.zeros_like(b)), strict=True))
    packed = PackedSequence(x, layout.sizes)
    return torch.func.functional_call(lstm, tensors, (packed,))[0].data


def _predict(model: Model[Any, Any], Xs: Sequence[Floats2d]) -> list[Floats2d]:
    """Compute the states without a gradient, in batches of similar length; long sequences are split."""
    pieces: list[tuple[Any, ...]] = [(i, *cut) for i, X in enumerate(Xs) for cut in _pieces(len(X))]
    pieces.sort(key=lambda piece: piece[2] - piece[1])
    Ys = [model.ops.alloc2f(len(X), model.get_dim("nO")) for X in Xs]
    for batch in minibatch_by_size(pieces, BATCH_TOKENS, lambda piece: piece[2] - piece[1]):
        packing = Packing([end - begin for _, begin, end, _, _ in batch])
        X = xp2torch(model.ops.xp.concatenate([Xs[i][begin:end] for i, begin, end, _, _ in batch]))
        start = 0
        found = torch2xp(_Run(model, X, packing, is_train=False).output)
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

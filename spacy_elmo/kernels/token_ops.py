"""Bind the native inference ops: token pooling, scalar mix, and Maxout with layer norm.

The kernel's code is in native/token_ops-inl.h and native/maxout-inl.h. Without the kernel, NumPy and thinc
compute the same: see pipeline/annotations/alignment.py and pipeline/layers/scalar_mix.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from .binding import (
    Packed,
    as_floats,
    as_indices,
    available,
    call,
    check_ascending,
    check_same,
    check_shape,
    target_number,
)
from .native_interface import COMPUTE_TYPES

__all__ = [
    "N_PIECES",
    "LayerNormParams",
    "PackedMaxout",
    "TokenAlignment",
    "available",
    "mean_layers",
    "pool_tokens",
    "scalar_mix",
]

N_PIECES = 3  # pieces of a Maxout, as in all models of spaCy


class TokenAlignment(NamedTuple):
    """The states of a text's units, and the units of each token; see annotations.alignment.Alignment."""

    states: Sequence[np.ndarray]
    """(L, n, D) float32 for each sentence."""
    n_tokens: int
    tokens: np.ndarray
    starts: np.ndarray
    units: np.ndarray


def pool_tokens(
    texts: Sequence[TokenAlignment], n_layers: int, width: int, target: str | None = None
) -> list[np.ndarray]:
    """Compute the layers of the tokens of each text, (L, n_tokens, D), from the states of its units.

    target: one of supported_targets(); None: the best.
    """
    states = [as_floats(state) for text in texts for state in text.states]
    for state in states:
        check_shape("States of units", state, (n_layers, state.shape[1], width))
    indices = [_checked(text) for text in texts]
    out = [np.empty((n_layers, text.n_tokens, width), dtype=np.float32) for text in texts]
    call(
        "elmo_pool_tokens",
        target=target_number(target),
        n_docs=len(texts),
        sizes=np.array(
            [(len(t.states), t.n_tokens, len(t.tokens), len(t.units)) for t in texts], dtype=np.int64
        ),
        states=states,
        lengths=np.array([state.shape[1] for state in states], dtype=np.int64),
        n_layers=n_layers,
        dim=width,
        indices=[each for arrays in indices for each in arrays],
        out=out,
        n_threads=torch.get_num_threads(),
    )
    return out


def _checked(text: TokenAlignment) -> list[np.ndarray]:
    """Return tokens, starts and units of a text as indices. Raises a ValueError if one is out of range."""
    tokens, starts, units = (as_indices(each) for each in text[2:])
    check_same("The numbers of tokens and of their first units", [tokens.shape, starts.shape])
    check_ascending("Tokens that have units", tokens, text.n_tokens)
    check_ascending("Their first units", starts, len(units))
    check_ascending("TokenAlignment of tokens", units, sum(s.shape[1] for s in text.states), strictly=False)
    return [tokens, starts, units]


def scalar_mix(
    layers: Sequence[np.ndarray],
    weights: np.ndarray,
    epsilon: float | None,
    static_vectors: Sequence[np.ndarray] | None = None,
    target: str | None = None,
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Compute sum_j weights_j h_j for each array (L, n, D) float32 of `layers` (at least one): (n, D) each.

    epsilon: added to the variance if each h_j is first normalised over D; None: no normalisation. With
    normalisation, the second result is the mean and scale of (h - mean) * scale, (2, L, n) for each array;
    without, None. static_vectors: (n, S) float32 for each array, concatenated after the mix: (n, D + S).
    target: one of supported_targets(); None: the best.
    """
    ends = np.cumsum([h.shape[1] for h in layers]).tolist()
    begins = [0, *ends[:-1]]
    n_layers, _, width = layers[0].shape
    more = static_vectors[0].shape[1] if static_vectors else 0
    y = np.empty((ends[-1], width + more), dtype=np.float32)
    norms = None if epsilon is None else np.empty((ends[-1], n_layers, 2), dtype=np.float32)
    mixed = [y[begin:end] for begin, end in zip(begins, ends, strict=True)]
    _mix(layers, weights, 0.0 if epsilon is None else epsilon, static_vectors, mixed, norms, target)
    if norms is None:
        return mixed, None
    return mixed, [norms[begin:end].T for begin, end in zip(begins, ends, strict=True)]


def mean_layers(layers: Sequence[np.ndarray], target: str | None = None) -> list[np.ndarray]:
    """Compute the average over the layers of each array (L, n, D) float32: new arrays (n, D)."""
    if not layers:
        return []
    out = [np.empty(h.shape[1:], dtype=np.float32) for h in layers]
    _mix(layers, np.full(len(layers[0]), 1 / len(layers[0])), 0.0, None, out, None, target)
    return out


def _mix(
    layers: Sequence[np.ndarray],
    weights: np.ndarray,
    epsilon: float,
    static_vectors: Sequence[np.ndarray] | None,
    out: Sequence[np.ndarray],
    norms: np.ndarray | None,
    target: str | None,
) -> None:
    """Fill `out`, (n, D + S) each, and `norms`, (N, L, 2), unless it is None."""
    arrays = [as_floats(h) for h in layers]
    columns = [as_floats(b) for b in static_vectors or ()]
    n_layers, _, width = arrays[0].shape
    more = columns[0].shape[1] if columns else 0
    for h, y in zip(arrays, out, strict=True):
        check_shape("Layers of a Doc", h, (n_layers, h.shape[1], width))
        check_shape("The output of a mix", y, (h.shape[1], width + more))
    for h, b in zip(arrays, columns if columns else (), strict=bool(columns)):
        check_shape("Static vectors of a Doc", b, (h.shape[1], more))
    check_shape("Weights of layers", weights, (n_layers,))
    call(
        "elmo_scalar_mix",
        target=target_number(target),
        n_docs=len(arrays),
        n_tokens=np.array([h.shape[1] for h in arrays], dtype=np.int64),
        layers=arrays,
        n_layers=n_layers,
        dim=width,
        weights=as_floats(weights),
        epsilon=epsilon,
        static_vectors=columns,
        static_dim=more,
        out=out,
        moments=norms,
        n_threads=torch.get_num_threads(),
    )


class LayerNormParams(NamedTuple):
    """Parameters of a layer normalisation. gain, shift: (O,); epsilon: added to the variance."""

    gain: np.ndarray
    shift: np.ndarray
    epsilon: float


class PackedMaxout:
    """Maxout max_p (W_p x + b_p) with an optional layer normalisation and packed weights.

    A row of the result does not depend on other rows.

    Args:
        W: (O, N_PIECES, I).
        b: (O, N_PIECES).
        norm: Layer normalisation after the Maxout.
        products: Type of the products, one of native_interface.COMPUTE_TYPES; sums are float32.
        target: One of supported_targets(); None: the best.
    """

    def __init__(
        self,
        W: np.ndarray,
        b: np.ndarray,
        norm: LayerNormParams | None = None,
        *,
        products: str = COMPUTE_TYPES[0],
        target: str | None = None,
    ):
        self.nO, _, self.nI = W.shape
        check_shape("W", W, (self.nO, N_PIECES, self.nI))
        check_shape("b", b, (self.nO, N_PIECES))
        for array in () if norm is None else (norm.gain, norm.shift):
            check_shape("A layer normalisation", array, (self.nO,))
        weights, bias, *affine = (as_floats(each) for each in (W, b, *(norm[:2] if norm else ())))
        self._maxout = Packed(
            "elmo_maxout_new",
            "elmo_maxout_free",
            "a Maxout",
            target=target_number(target),
            compute_type=COMPUTE_TYPES.index(products),
            n_inputs=self.nI,
            n_outputs=self.nO,
            weights=weights,
            bias=bias,
            gain=affine[0] if affine else None,
            shift=affine[1] if affine else None,
            epsilon=0.0 if norm is None else norm.epsilon,
        )

    def __call__(self, *parts: Sequence[np.ndarray]) -> np.ndarray:
        """Return (N, O) for the rows of all texts.

        parts: inputs to concatenate, each a list of arrays (n, width) float32, one per text, whose widths sum
        to I.
        """
        arrays = [[as_floats(x) for x in part] for part in parts]
        tokens = np.array([len(x) for x in arrays[0]], dtype=np.int64)
        check_same("The numbers of texts of the parts", [len(part) for part in arrays])
        widths = [part[0].shape[1] if part else 0 for part in arrays]
        if len(tokens):
            check_same("The columns of all parts and the inputs of the Maxout", [sum(widths), self.nI])
        for part, width in zip(arrays, widths, strict=True):
            for x, n in zip(part, tokens.tolist(), strict=True):
                check_shape("A part of the rows of a text", x, (n, width))
        y = np.empty((int(tokens.sum()), self.nO), dtype=np.float32)
        call(
            "elmo_maxout",
            self._maxout,
            n_docs=len(tokens),
            n_tokens=tokens,
            n_parts=len(arrays),
            widths=np.array(widths, dtype=np.int64),
            x=[x for part in arrays for x in part],
            out=y,
            n_threads=torch.get_num_threads(),
        )
        return y

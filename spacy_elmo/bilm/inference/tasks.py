"""What is made of layers in prediction, natively (native/tasks.h): those of tokens, scalar mixes, Maxouts.

Where it was not built, numpy and thinc do the same: pipeline/align.py, pipeline/scalar_mix.py, thinc itself.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple
from weakref import finalize

import numpy as np
import torch

from .library import TYPES, instruction_sets, library

PIECES = 3  # of a Maxout: as many as all of spaCy's have


@cache
def _functions() -> ctypes.CDLL | None:
    native = library()
    if native is None:
        return None
    pointer, size, number, real = ctypes.c_void_p, ctypes.c_long, ctypes.c_int, ctypes.c_float
    native.elmo_tokens.argtypes = [number, size, *[pointer] * 3, *[size] * 2, *[pointer] * 2, number]
    native.elmo_mix.argtypes = [
        number,
        size,
        *[pointer] * 2,
        size,
        size,
        pointer,
        real,
        pointer,
        size,
        *[pointer] * 2,
        number,
    ]
    native.elmo_maxout_new.restype = pointer
    native.elmo_maxout_new.argtypes = [number, number, size, size, *[pointer] * 4, real]
    native.elmo_maxout_free.argtypes = [pointer]
    native.elmo_same.argtypes = [pointer, pointer, ctypes.c_size_t]
    native.elmo_maxout.argtypes = [pointer, size, pointer, size, *[pointer] * 3, number]
    return native


def available() -> bool:
    """Whether the native kernel is there."""
    return _functions() is not None


class Units(NamedTuple):
    """The units of a text, and those of each of its tokens; see pipeline.align.Alignment."""

    states: Sequence[np.ndarray]
    """(L, n, D) float32 for each sentence"""
    n_tokens: int
    tokens: np.ndarray
    starts: np.ndarray
    units: np.ndarray


def token_layers(
    texts: Sequence[Units], n_layers: int, width: int, isa: str | None = None
) -> list[np.ndarray]:
    """Layers of the tokens of each text, (L, n_tokens, D), from states of its units.

    isa: of instruction_sets(); None: the best.
    """
    native = _functions()
    assert native is not None
    states = [np.ascontiguousarray(state) for text in texts for state in text.states]
    lengths = np.array([state.shape[1] for state in states], dtype=np.int64)
    sizes = np.array(
        [(len(t.states), t.n_tokens, len(t.tokens), len(t.units)) for t in texts], dtype=np.int64
    )
    indices = [np.ascontiguousarray(each, dtype=np.int64) for t in texts for each in t[2:]]
    out = [np.empty((n_layers, text.n_tokens, width), dtype=np.float32) for text in texts]
    inputs, own, outputs = (_places(arrays) for arrays in (states, indices, out))
    failed = native.elmo_tokens(
        _number(isa),
        len(texts),
        sizes.ctypes.data,
        inputs.ctypes.data,
        lengths.ctypes.data,
        n_layers,
        width,
        own.ctypes.data,
        outputs.ctypes.data,
        torch.get_num_threads(),
    )
    if failed:
        raise MemoryError("There is no memory for the layers of these tokens.")
    return out


def mix(
    layers: Sequence[np.ndarray],
    weights: np.ndarray,
    epsilon: float | None,
    beside: Sequence[np.ndarray] | None = None,
    isa: str | None = None,
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """sum_j weights_j h_j for each array of `layers`, (L, n, D) float32, one at least -> (n, D) each.

    epsilon: beside the variance, where each h_j is normalised over D first; None: it is not. Then what makes
    (h - mean) * scale comes along, (2, L, n) each, else None. beside: (n, S) float32 each, put behind the
    mix's columns: (n, D + S). isa: one of instruction_sets(); None: the best.
    """
    ends = np.cumsum([h.shape[1] for h in layers]).tolist()
    begins = [0, *ends[:-1]]
    n_layers, _, width = layers[0].shape
    more = beside[0].shape[1] if beside else 0
    y = np.empty((ends[-1], width + more), dtype=np.float32)
    norms = None if epsilon is None else np.empty((ends[-1], n_layers, 2), dtype=np.float32)
    own = [y[begin:end] for begin, end in zip(begins, ends, strict=True)]
    _mix(layers, weights, 0.0 if epsilon is None else epsilon, beside, own, norms, isa)
    if norms is None:
        return own, None
    return own, [norms[begin:end].T for begin, end in zip(begins, ends, strict=True)]


def means(layers: Sequence[np.ndarray], isa: str | None = None) -> list[np.ndarray]:
    """The plain average of each array of `layers`, (L, n, D) float32 -> (n, D) each, in memory of its own."""
    if not layers:
        return []
    out = [np.empty(h.shape[1:], dtype=np.float32) for h in layers]
    _mix(layers, np.full(len(layers[0]), 1 / len(layers[0])), 0.0, None, out, None, isa)
    return out


def _mix(
    layers: Sequence[np.ndarray],
    weights: np.ndarray,
    epsilon: float,
    beside: Sequence[np.ndarray] | None,
    out: Sequence[np.ndarray],
    norms: np.ndarray | None,
    isa: str | None,
) -> None:
    """Fill `out`, (n, D + S) each, and norms, (N, L, 2), where that is not None."""
    native = _functions()
    assert native is not None
    kept = [np.ascontiguousarray(h) for h in layers]
    columns = [np.ascontiguousarray(b, dtype=np.float32) for b in beside or ()]
    tokens = np.array([h.shape[1] for h in kept], dtype=np.int64)
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    inputs, besides, outputs = (_places(arrays) for arrays in (kept, columns, out))
    failed = native.elmo_mix(
        _number(isa),
        len(kept),
        tokens.ctypes.data,
        inputs.ctypes.data,
        kept[0].shape[0],
        kept[0].shape[2],
        weights.ctypes.data,
        epsilon,
        besides.ctypes.data,
        columns[0].shape[1] if columns else 0,
        outputs.ctypes.data,
        None if norms is None else norms.ctypes.data,
        torch.get_num_threads(),
    )
    if failed:
        raise MemoryError("There is no memory for the mix of this batch.")


def _places(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([array.__array_interface__["data"][0] for array in arrays], dtype=np.int64)


class Norm(NamedTuple):
    """Layer normalisation. gain, shift: (O,); epsilon: what is added to the variance."""

    gain: np.ndarray
    shift: np.ndarray
    epsilon: float


class PackedMaxout:
    """max_p (W_p x + b_p), and layer normalisation behind it, with packed weights. A row depends on no other.

    W: (O, PIECES, I); b: (O, PIECES). products: their type, one of library.TYPES; sums are float32. isa: as
    above.
    """

    def __init__(
        self,
        W: np.ndarray,
        b: np.ndarray,
        norm: Norm | None = None,
        *,
        products: str = TYPES[0],
        isa: str | None = None,
    ):
        native = _functions()
        assert native is not None
        assert W.shape[1] == PIECES
        self.nO, _, self.nI = W.shape
        self._products, self._epsilon = products, 0.0 if norm is None else norm.epsilon
        self._of = [each.copy() for each in _arrays(W, b, norm)]  # for they are learnt on, in place
        pointers = [each.ctypes.data for each in self._of] + [None] * (0 if norm else 2)
        self._maxout = native.elmo_maxout_new(
            _number(isa), TYPES.index(products), self.nI, self.nO, *pointers, self._epsilon
        )
        if self._maxout is None:
            raise MemoryError("There is no memory for the weights of a Maxout.")
        self._run, self._same = native.elmo_maxout, native.elmo_same
        finalize(self, native.elmo_maxout_free, self._maxout)

    def is_of(
        self, W: np.ndarray, b: np.ndarray, norm: Norm | None = None, *, products: str = TYPES[0]
    ) -> bool:
        """Whether it would be the same if it were made now: the numbers are compared, one by one."""
        now = _arrays(W, b, norm)
        return (
            (products, 0.0 if norm is None else norm.epsilon) == (self._products, self._epsilon)
            and [each.shape for each in now] == [each.shape for each in self._of]
            and all(
                self._same(one.ctypes.data, other.ctypes.data, one.nbytes)
                for one, other in zip(now, self._of, strict=True)
            )
        )

    def __call__(self, *parts: Sequence[np.ndarray]) -> np.ndarray:
        """parts: what stands side by side in the rows, each as arrays (n, width) float32, one a text, whose
        widths are I together -> (N, O) of all texts.
        """
        kept = [[np.ascontiguousarray(x) for x in part] for part in parts]
        tokens = np.array([len(x) for x in kept[0]], dtype=np.int64)
        widths = np.array([part[0].shape[1] if part else 0 for part in kept], dtype=np.int64)
        places = _places([x for part in kept for x in part])
        y = np.empty((int(tokens.sum()), self.nO), dtype=np.float32)
        failed = self._run(
            self._maxout,
            len(tokens),
            tokens.ctypes.data,
            len(kept),
            widths.ctypes.data,
            places.ctypes.data,
            y.ctypes.data,
            torch.get_num_threads(),
        )
        if failed:
            raise MemoryError("There is no memory for this batch: give a smaller batch_size.")
        return y


def _arrays(W: np.ndarray, b: np.ndarray, norm: Norm | None) -> list[np.ndarray]:
    return [np.ascontiguousarray(each, dtype=np.float32) for each in (W, b, *(norm[:2] if norm else ()))]


def _number(isa: str | None) -> int:
    sets = instruction_sets()
    return sets[isa] if isa else next(iter(sets.values()))

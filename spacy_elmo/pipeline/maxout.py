"""Maxout and the layer normalisation behind it, in prediction: by the native kernel, in one pass.

thinc does them one after another, each through memory, the products by BLIS.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from thinc.api import Model
from thinc.layers.chain import forward as chain_forward
from thinc.layers.maxout import forward as maxout_forward

from ..bilm.inference.tasks import PIECES, Norm, PackedMaxout, available

EPSILON = 1e-8  # thinc's own, of its layer normalisation


class InOnePass:
    """The callback of a layer in place of thinc's own, which it still calls in training and where it must.

    half: products of bf16. Packed weights are kept, and packed anew where the layer's have changed.
    """

    def __init__(self, own: Callable):
        self.own = own
        self.half = False
        self._packed: PackedMaxout | None = None

    def __call__(self, model: Model, X: Any, is_train: bool) -> tuple[Any, Callable]:
        """See thinc's Maxout and LayerNorm: (n, nI) -> (n, nO)."""
        if is_train or type(X) is not np.ndarray or X.dtype != np.float32 or X.ndim != 2:
            return self.own(model, X, is_train)
        maxout, norm = model, None
        if model.layers:
            maxout, normal = model.layers
            norm = Norm(_array(normal, "G"), _array(normal, "b"), EPSILON)
        W, b, packed = _array(maxout, "W"), _array(maxout, "b"), self._packed
        if packed is None or not packed.is_of(W, b, norm, half=self.half):
            packed = self._packed = PackedMaxout(W, b, norm, half=self.half)
        if X.shape[1] != packed.nI:
            return self.own(model, X, is_train)  # it has words for what is wrong
        return packed(X), _no_gradient

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.own, self.half)


def _array(model: Model, name: str) -> Any:
    return model.get_param(name)


def _restored(own: Callable, half: bool) -> InOnePass:
    callback = InOnePass(own)
    callback.half = half
    return callback


def in_one_pass(node: Model) -> None:
    """Let a layer predict natively, if it is a Maxout, or one with layer normalisation behind it."""
    if available() and (_is_maxout(node) or _is_normalised(node)):
        node.replace_callbacks(InOnePass(node._func), init=node.init)


def _is_maxout(node: Model) -> bool:
    return node._func is maxout_forward and node.get_dim("nP") == PIECES


def _is_normalised(node: Model) -> bool:
    parts = [layer.name for layer in node.layers]
    return node._func is chain_forward and parts == ["maxout", "layernorm"] and _is_maxout(node.layers[0])


def _no_gradient(dY: Any) -> Any:
    raise ValueError("This was a prediction: begin an update to get a gradient.")

"""Maxout and the layer normalisation behind it, in prediction: by the native kernel, in one pass.

thinc does them one after another, each through memory, the products by BLIS.
"""

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, cast

import numpy as np
from thinc.api import Model
from thinc.layers.chain import forward as chain_forward
from thinc.layers.concatenate import forward as concatenate_forward
from thinc.layers.dropout import forward as dropout_forward
from thinc.layers.maxout import forward as maxout_forward

from ...kernels.token_ops import N_PIECES, LayerNormParams, PackedMaxout, available

EPSILON = 1e-8  # thinc's own, of its layer normalisation


class FusedMaxout:
    """The callback of a layer in place of thinc's own, which it still calls in training and where it must.

    products: their type, see PackedMaxout. Packed weights are kept, and packed anew where the layer's have
    changed.
    """

    def __init__(self, own: Callable):
        self.own = own
        self.products = "f32"
        self._packed: PackedMaxout | None = None

    def __call__(self, model: Model, X: Any, is_train: bool) -> tuple[Any, Callable]:
        """See thinc's Maxout and LayerNorm: (n, nI) -> (n, nO)."""
        if not is_train and _is_matrix(X) and (packed := self.packed(model)).nI == X.shape[1]:
            return packed([X]), _no_gradient
        return self.own(model, X, is_train)  # it also has words for what is wrong

    def packed(self, model: Model) -> PackedMaxout:
        """The layer's weights as they are now."""
        maxout, norm = model, None
        if model.layers:
            maxout, normal = model.layers
            norm = LayerNormParams(_array(normal, "G"), _array(normal, "b"), EPSILON)
        W, b, packed = _array(maxout, "W"), _array(maxout, "b"), self._packed
        if packed is None or not packed.matches(W, b, norm, products=self.products):
            packed = self._packed = PackedMaxout(W, b, norm, products=self.products)
        return packed

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.own, self.products)


class FusedConcatMaxout:
    """The callback of a joint, chain(concatenate(layer, ...), with_array(maxout)) or with a single layer, in
    place of thinc's own: what the layers give is put side by side where the Maxout reads it, not before.
    """

    def __init__(self, own: Callable):
        self.own = own

    def __call__(self, model: Model, X: Any, is_train: bool) -> tuple[Any, Callable]:
        """List[Any] -> List[Floats2d (n, nO)], one or more."""
        maxout = _maxout_of(model)
        if is_train or maxout is None:
            return self.own(model, X, is_train)
        parts = [layer.predict(X) for layer in _concat_inputs(model.layers[0])]
        packed = cast(FusedMaxout, maxout._func).packed(maxout)
        if not _can_concat(parts, packed.nI):
            return self.own(model, X, is_train)  # it has words for what is wrong
        y = packed(*parts)
        ends = list(accumulate(len(x) for x in parts[0]))
        return [y[begin:end] for begin, end in pairwise([0, *ends])], _no_gradient

    def __reduce__(self) -> tuple[Any, ...]:
        return FusedConcatMaxout, (self.own,)


def _maxout_of(joint: Model) -> Model | None:
    """The layer in a joint's with_array that predicts in one pass; dropout behind it does nothing then."""
    (node,) = joint.layers[-1].layers
    while node._func is chain_forward and all(layer._func is dropout_forward for layer in node.layers[1:]):
        node = node.layers[0]
    return node if isinstance(node._func, FusedMaxout) else None


def _concat_inputs(layer: Model) -> list[Model]:
    return layer.layers if layer._func is concatenate_forward else [layer]


def _is_matrix(X: Any) -> bool:
    return type(X) is np.ndarray and X.dtype == np.float32 and X.ndim == 2


def _can_concat(parts: list[list[Any]], width: int) -> bool:
    """Whether they can stand side by side: matrices as long as one another, and `width` columns together."""
    if not all(_is_matrix(x) for part in parts for x in part):
        return False
    lengths = {tuple(map(len, part)) for part in parts}
    widths = [{x.shape[1] for x in part} for part in parts]
    return len(lengths) == 1 and all(len(own) == 1 for own in widths) and sum(map(max, widths)) == width


def _array(model: Model, name: str) -> Any:
    return model.get_param(name)


def _restored(own: Callable, products: str) -> FusedMaxout:
    callback = FusedMaxout(own)
    callback.products = products
    return callback


def fuse_maxout(node: Model) -> None:
    """Let a layer predict natively, if it is a Maxout, or one with layer normalisation behind it."""
    if available() and (_is_maxout(node) or _is_normalised(node)):
        node.replace_callbacks(FusedMaxout(node._func), init=node.init)


def fuse_concat_maxout(node: Model) -> None:
    """Let a joint predict natively, if its Maxout does."""
    if node._func is chain_forward and _maxout_of(node) is not None:
        node.replace_callbacks(FusedConcatMaxout(node._func), init=node.init)


def _is_maxout(node: Model) -> bool:
    return node._func is maxout_forward and node.get_dim("nP") == N_PIECES


def _is_normalised(node: Model) -> bool:
    parts = [layer.name for layer in node.layers]
    return node._func is chain_forward and parts == ["maxout", "layernorm"] and _is_maxout(node.layers[0])


def _no_gradient(dY: Any) -> Any:
    raise ValueError("A prediction has no gradient: call begin_update instead.")

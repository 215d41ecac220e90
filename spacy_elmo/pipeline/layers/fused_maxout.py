"""A Maxout with layer normalisation over the outputs of several layers, fused in prediction."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, cast

import torch
from spacy.tokens import Doc
from thinc.api import Maxout, Model, chain, concatenate, with_array
from thinc.layers.chain import forward as chain_forward
from thinc.types import Floats2d

from ...kernels.precision import DTYPE_NAMES, Precision, resolve_compute_dtype
from ...kernels.token_ops import N_PIECES
from .bilm import BiLMShim, get_bilm_shim
from .listener import NAME as LISTENER
from .packed_maxout import PackedMaxoutShim, get_shim, is_float_matrix, is_fused, no_gradient
from .upstreams import upstream_of


def FusedMaxout(*layers: Model[list[Doc], list[Floats2d]], width: int) -> Model[list[Doc], list[Floats2d]]:
    """Y = LayerNorm(Maxout([layer(X); ...])), three pieces, with dropout in training.

    List[Any] -> List[Floats2d (n, width)]. The parameters and the training are those of thinc's
    chain(concatenate(...), with_array(Maxout)), whose layers it has. In prediction on the CPU the native
    kernel reads the outputs of the layers where they lie, and does the rest in one pass, in the precision of
    the biLM in the last layer (float32 where there is none). attrs["fused"] = False turns that off.
    layers: one at least; the last one reads ELMo.
    """
    maxout = Maxout(width, nP=N_PIECES, dropout=0.0, normalize=True)  # 0.0: [training] dropout sets it
    plain: Model[list[Doc], list[Floats2d]] = chain(concatenate(*layers), with_array(maxout))
    return Model(
        "elmo-fused-maxout",
        forward,
        init=plain.init,
        layers=plain.layers,
        dims={name: plain.maybe_get_dim(name) for name in plain.dim_names},
        attrs={"fused": True, "n_inputs": len(layers)},
        shims=[PackedMaxoutShim()],
    )


def forward(model: Model[Any, Any], X: Any, is_train: bool) -> tuple[list[Floats2d], Callable[..., Any]]:
    """Return Y for the docs: in one pass in prediction if possible, otherwise through thinc's layers."""
    if is_train:
        get_shim(model).expect_updates()
    maxout, norm = model.layers[1].layers[0].layers[0].layers  # in with_array, before dropout
    if is_train or not is_fused(model, maxout):
        return chain_forward(model, X, is_train)
    parts = [layer.predict(X) for layer in _inputs(model)]
    packed = get_shim(model).get(maxout, norm, _compute_dtype(model))
    if not _can_concatenate(parts, packed.nI):
        return chain_forward(model, X, is_train)  # it raises the error
    Y = packed(*parts)
    ends = accumulate(len(x) for x in parts[0])
    return [cast(Floats2d, Y[begin:end]) for begin, end in pairwise([0, *ends])], no_gradient


def _inputs(model: Model[Any, Any]) -> list[Model[Any, Any]]:
    first = model.layers[0]
    return first.layers if model.attrs["n_inputs"] > 1 else [first]


def _compute_dtype(model: Model[Any, Any]) -> str:
    """Return the type of the products: that of the biLM which the last input reads."""
    precision: Precision = "f32"
    for node in _inputs(model)[-1].walk():
        upstream = upstream_of(node) if node.name == LISTENER else None
        shims = [get_bilm_shim(upstream.model)] if upstream is not None else node.shims
        for shim in shims:
            if isinstance(shim, BiLMShim):
                precision = shim.precision
    return DTYPE_NAMES[resolve_compute_dtype(precision, torch.device("cpu"))]


def _can_concatenate(parts: Sequence[list[Any]], width: int) -> bool:
    """Return whether the parts are matrices of equal lengths with `width` columns in all."""
    if not all(is_float_matrix(x) for part in parts for x in part):
        return False
    lengths = {tuple(map(len, part)) for part in parts}
    widths = [{x.shape[1] for x in part} for part in parts]
    return (
        len(lengths) == 1
        and all(len(each) == 1 for each in widths)
        and sum(max(each) for each in widths) == width
    )

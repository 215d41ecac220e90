"""The output layer of a CRF: emission scores of labels, and the parameters between labels. A thinc layer."""

from collections.abc import Callable, Sequence
from typing import Any

from thinc.api import Model, glorot_uniform_init
from thinc.types import Floats2d

from ...pipeline.layers.scalar_mix import dropout_mask
from .crf import Potentials

NAME = "elmo-crf"
POTENTIALS = ("transitions", "start", "end")


def CRFLayer(nO: int | None = None, nI: int | None = None, *, dropout: float = 0.0) -> Model[Any, Any]:
    """Create the layer List[Floats2d (n, nI)] -> List[Floats2d (n, nO)]: dropout, then scores of labels.

    Parameters in addition to W (nO, nI) and b (nO,): transitions (nO, nO), start (nO,), end (nO,), see
    crf.Potentials. The component computes their gradients with those of the scores, because the loss depends
    on whole sequences. dropout: rate of the input in training; spaCy sets it to [training] dropout.
    """
    params: dict[str, Any] = dict.fromkeys(("W", "b", *POTENTIALS))
    return Model(
        NAME, forward, init=init, dims={"nO": nO, "nI": nI}, params=params, attrs={"dropout_rate": dropout}
    )


def forward(
    model: Model[Any, Any], Xs: Sequence[Floats2d], is_train: bool
) -> tuple[list[Floats2d], Callable[..., Any]]:
    """Return the unary scores of the labels, and the backprop function."""
    ops: Any = model.ops
    W, b = model.get_param("W"), model.get_param("b")
    lengths = ops.asarray1i([len(X) for X in Xs])
    X = ops.flatten(list(Xs)) if len(Xs) else ops.alloc2f(0, model.get_dim("nI"))
    mask = dropout_mask(ops, X.shape, model.attrs["dropout_rate"]) if is_train else None
    X = X if mask is None else X * mask
    Y = ops.gemm(X, W, trans2=True) + b

    def backprop(dYs: Sequence[Floats2d]) -> list[Floats2d]:
        dY = ops.flatten(list(dYs))
        model.inc_grad("W", ops.gemm(dY, X, trans1=True))
        model.inc_grad("b", dY.sum(0))
        dX = ops.gemm(dY, W)
        dXs: list[Floats2d] = ops.unflatten(dX if mask is None else dX * mask, lengths)
        return dXs

    return ops.unflatten(Y, lengths), backprop


def init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    """Allocate the parameters."""
    if X is not None and model.has_dim("nI") is None:
        model.set_dim("nI", X[0].shape[1])
    if model.has_param("W"):
        return
    n_labels, width = model.get_dim("nO"), model.get_dim("nI")
    model.set_param("W", glorot_uniform_init(model.ops, (n_labels, width)))
    model.set_param("b", model.ops.alloc1f(n_labels))
    model.set_param("transitions", model.ops.alloc2f(n_labels, n_labels))
    model.set_param("start", model.ops.alloc1f(n_labels))
    model.set_param("end", model.ops.alloc1f(n_labels))


def potentials_of(model: Model[Any, Any], constraints: Sequence[Any]) -> Potentials:
    """Return the learned scores between labels plus the constraints (0 or crf.FORBIDDEN)."""
    return Potentials(*(model.get_param(n) + c for n, c in zip(POTENTIALS, constraints, strict=True)))

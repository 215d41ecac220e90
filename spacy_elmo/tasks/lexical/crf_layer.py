"""The output layer of a CRF: emission scores of labels, and the parameters between labels. A thinc layer."""

from collections.abc import Callable, Sequence
from typing import Any

from thinc.api import Model, glorot_uniform_init
from thinc.types import Floats2d

from ...errors import ElmoError
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
    """Draw the parameters, again in a second initialization."""
    if X is not None and model.has_dim("nI") is None:
        model.set_dim("nI", X[0].shape[1])
    n_labels, width = model.get_dim("nO"), model.get_dim("nI")
    params: dict[str, Any] = {
        "W": glorot_uniform_init(model.ops, (n_labels, width)),
        "b": model.ops.alloc1f(n_labels),
        "transitions": model.ops.alloc2f(n_labels, n_labels),
        "start": model.ops.alloc1f(n_labels),
        "end": model.ops.alloc1f(n_labels),
    }
    for name, value in params.items():
        model.set_param(name, value)
        if model.has_grad(name):  # of an earlier training, perhaps of another number of labels
            model.set_grad(name, model.ops.xp.zeros_like(value))


def set_labels(model: Model[Any, Any], layer: Model[Any, Any], n_labels: int) -> None:
    """Set the number of labels of a model and its CRFLayer before they are initialized, also a second time.

    If the number changes, the layer loses its weights.
    """
    if layer.has_dim("nO") and layer.get_dim("nO") != n_labels:
        for name in layer.param_names:
            layer.set_param(name, None)  # thinc keeps the dimensions of a layer with weights
    for each in (layer, model):
        if each.has_dim("nO") is not False:
            each.set_dim("nO", n_labels, force=True)


def check_size(layer: Model[Any, Any], n_labels: int, name: str) -> None:
    """Raise an ElmoError if a CRFLayer has weights of another number of labels. name: of its component."""
    for each in layer.param_names:
        shape = (n_labels, n_labels) if each == "transitions" else (n_labels,)
        if layer.has_param(each) and layer.get_param(each).shape[: len(shape)] != shape:
            raise ElmoError(
                f'The weights of "{name}" are not those of its labels: load a pipeline as spaCy saved it, or '
                "train it again."
            )


def potentials_of(model: Model[Any, Any], constraints: Sequence[Any]) -> Potentials:
    """Return the learned scores between labels plus the constraints (0 or crf.FORBIDDEN)."""
    return Potentials(*(model.get_param(n) + c for n, c in zip(POTENTIALS, constraints, strict=True)))

"""The listener: reads what the component left on each Doc, and mixes it. It belongs to the consumer's model.

It keeps no batch, so training, prediction and processes are all the same to it: an array lies on the Doc, or
the component has not run. docs/pipeline.md tells how the two find one another.
"""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from .output import check_length, read_layers, read_static
from .scalar_mix import WithStatic

NAME = "elmo-listener"

# The docs that a listener was initialized with, by the listener's model id: nlp.initialize() runs the
# consumers before anything has been annotated, to infer widths, and only there are zeros right. The entry
# ends with the initialization, when spaCy links components anew.
_samples: dict[int, WeakSet[Doc]] = {}


def ElmoListener(mix: Model, *, upstream: str = "*", static: bool = False) -> Model:
    """List[Doc] -> List[Floats2d (n_tokens, D)], or D + S with the static vectors beside the mix.

    mix: the consumer's own scalar mix. upstream: name of the component to listen to; "*": the nearest one
    before the consumer. All that it knows lies in attrs, because `Model.copy()` keeps nothing else:
        upstream   as given
        source     the component that it was linked to
        consumer   the component that it is a part of
        n_layers, width, static_width   L, D and S of the source, None while its weights cannot be found
        static     whether the static vectors are wanted; a source without any has S = 0
    """
    attrs = dict.fromkeys(("source", "consumer", "n_layers", "width", "static_width"))
    attrs |= {"upstream": upstream, "static": static}
    return Model(NAME, forward, init=init, layers=[mix], dims={"nO": None}, attrs=attrs)


def forward(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[list[Floats2d], Callable]:
    layers = [_read(model, doc, is_train) for doc in docs]  # (L, n, D) each
    X: list[np.ndarray] | WithStatic = layers
    if model.attrs["static"]:
        X = WithStatic(layers, [_read_static(model, doc) for doc in docs])  # (n, S) each
    Y, backprop_mix = model.layers[0](X, is_train)

    def backprop(dY: list[Floats2d]) -> list:
        backprop_mix(dY)
        return []  # a Doc takes no gradient

    return Y, backprop


def init(model: Model, X: Sequence[Doc] | None = None, Y: Any = None) -> None:
    if not model.attrs["source"]:
        raise ValueError(_no_source(model))
    if not model.attrs["width"]:
        raise ValueError(
            f'The model of "{model.attrs["source"]}" is not there, so the width of its vectors is unknown: '
            "correct [components." + model.attrs["source"] + ".model] path."
        )
    model.set_dim("nO", sum(_widths(model)), force=True)
    mix = model.layers[0]
    mix.set_dim("nL", model.attrs["n_layers"])
    mix.initialize()
    if X is not None:
        _samples[model.id] = WeakSet(X)


def link(
    model: Model,
    source: str,
    consumer: str,
    n_layers: int | None,
    width: int | None,
    static_width: int | None,
) -> None:
    """The component `source` tells a listener of `consumer` who it is; ends an initialization."""
    sizes = {"n_layers": n_layers, "width": width, "static_width": static_width}
    model.attrs.update(source=source, consumer=consumer, **sizes)
    _samples.pop(model.id, None)


def listens_to(model: Model, name: str) -> bool:
    """Whether a layer is a listener to the component of that name."""
    return model.name == NAME and model.attrs["upstream"] in ("*", name)


def _read(model: Model, doc: Doc, is_train: bool) -> np.ndarray:
    source = model.attrs["source"]
    if not source:
        raise ValueError(_no_source(model))
    layers = read_layers(doc, source)
    if layers is None:
        if not is_train and doc in _samples.get(model.id, ()):
            return np.zeros((model.attrs["n_layers"], len(doc), model.attrs["width"]), dtype=np.float32)
        raise ValueError(
            f'"{model.attrs["consumer"]}" needs the vectors of "{source}", which has not run on this Doc: '
            f'put "{source}" before it and do not disable or exclude it, and in training leave it out of '
            "frozen_components (it freezes itself)."
        )
    check_length(doc, layers, source)
    depth = model.attrs["n_layers"]
    if depth is not None and len(layers) != depth:
        raise ValueError(
            f'"{model.attrs["consumer"]}" was made for {depth} layers, but "{source}" has left {len(layers)} '
            "on this Doc: use the model that it was trained with, or train it anew."
        )
    width = layers.shape[2] + (model.attrs["static_width"] or 0) * model.attrs["static"]
    if model.has_dim("nO") and width != model.get_dim("nO"):
        raise ValueError(
            f'"{model.attrs["consumer"]}" was made for vectors of width {model.get_dim("nO")}, but '
            f'"{source}" gives {width}: use the model that it was trained with, or train it anew.'
        )
    return layers


def _read_static(model: Model, doc: Doc) -> np.ndarray:
    """(n, S); zeros for vectors that somebody else has put on the Doc, and in an initialization."""
    static = read_static(doc, model.attrs["source"])
    width = model.attrs["static_width"] or 0
    shape = len(doc), width
    return static if static.shape == shape else np.zeros(shape, dtype=np.float32)


def _widths(model: Model) -> tuple[int, int]:
    """D, and S where the static vectors are wanted."""
    return model.attrs["width"], (model.attrs["static_width"] or 0) * model.attrs["static"]


def _no_source(model: Model) -> str:
    upstream, consumer = model.attrs["upstream"], model.attrs["consumer"]
    wanted = "elmo" if upstream == "*" else upstream
    who = f'"{consumer}"' if consumer else "A component"
    return (
        f'{who} listens to "{wanted}", but there is none before it in the pipeline: '
        f'add the component "{wanted}" in front of it.'
    )

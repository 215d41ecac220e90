"""The listener: a layer of the consumer that reads the layers on each Doc and mixes them.

It is stateless: it reads the vectors stored on each Doc, so it works the same in training, prediction and
multiprocessing. docs/usage.md explains how a listener and its component are connected.
"""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..annotations.doc_vectors import Vectors, check_tokens, find_vectors
from .scalar_mix import MixInputs
from .upstreams import upstream_of

NAME = "elmo-listener"

# The docs that a listener was initialized with, by the listener's model id: nlp.initialize() runs the
# consumers before any Doc is annotated, to infer widths. Only there the listener may return zeros. The entry
# is removed after the initialization, when spaCy links components again.
_init_docs: dict[int, WeakSet[Doc]] = {}


def ElmoListener(
    mix: Model[Any, Any], *, upstream: str = "*", use_static_vectors: bool = False
) -> Model[Any, Any]:
    """Create the layer List[Doc] -> List[Floats2d (n_tokens, D)], or D + S with static vectors.

    mix: the consumer's scalar mix. upstream: name of the component; "*": the nearest one before the consumer.
    All state is in attrs, because `Model.copy()` keeps nothing else:
        upstream   as given
        source     the component that the listener is connected to
        consumer   the component that the listener belongs to
        n_layers, width, static_width   L, D and S of the source, None while its weights cannot be found
        trained_on  digest of the biLM that the consumer was initialized for, see weights_digest
        use_static_vectors  whether static vectors are wanted; a source without any has S = 0
        reads_parts  whether the consumer reads parts of copies of docs, from which no vectors can be found
    """
    attrs = dict.fromkeys(("source", "consumer", "n_layers", "width", "static_width", "trained_on"))
    attrs |= {"upstream": upstream, "use_static_vectors": use_static_vectors, "reads_parts": False}
    return Model(NAME, forward, init=init, layers=[mix], dims={"nO": None}, attrs=attrs)


def forward(
    model: Model[Any, Any], docs: Sequence[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[..., Any]]:
    """Return the mixed layers of the docs, and the backprop function of the mix."""
    upstream = upstream_of(model)
    if upstream is not None:
        upstream.check_listener(model)
    if is_train:
        _annotate_missing(model, docs)
    vectors = [_read(model, doc, is_train) for doc in docs]
    X: list[np.ndarray] | MixInputs = [each.layers for each in vectors]  # (L, n, D) each
    if model.attrs["use_static_vectors"]:
        X = MixInputs(X, [each.static for each in vectors])  # (n, S) each
    Y, backprop_mix = model.layers[0](X, is_train)

    def backprop(dY: list[Floats2d]) -> list[Any]:
        backprop_mix(dY)
        return []  # a Doc has no gradient

    return Y, backprop


def init(model: Model[Any, Any], X: Sequence[Doc] | None = None, Y: Any = None) -> None:
    """Set the width of the output and initialize the mix. Raises a ValueError if another width is set."""
    upstream = upstream_of(model)
    if not model.attrs["source"]:
        raise ValueError(_no_source(model))
    if upstream is None:
        raise ValueError(
            f'"{model.attrs["consumer"]}" was made for the model of "{model.attrs["source"]}", which is not '
            "before it in the pipeline: create the pipeline again, then initialize it."
        )
    if not model.attrs["width"]:
        raise ValueError(
            f'The model of "{model.attrs["source"]}" cannot be found, so the width of its vectors is '
            f"unknown: correct [components.{model.attrs['source']}.model] path."
        )
    mix = model.layers[0]
    fits = not model.has_dim("nO") or _expected_width(model) == sum(_widths(model))
    if not fits or (mix.has_dim("nL") and mix.get_dim("nL") != model.attrs["n_layers"]):
        raise ValueError(
            f'"{model.attrs["consumer"]}" was initialized for a model of other sizes than that of '
            f'"{model.attrs["source"]}": create the pipeline again, then initialize it.'
        )
    mix.set_dim("nL", model.attrs["n_layers"])
    if mix.has_dim("nI") is None:
        mix.set_dim("nI", model.attrs["width"])
    mix.initialize()
    width = mix.get_dim("nO") if mix.has_dim("nO") else sum(_widths(model))
    model.set_dim("nO", width, force=True)
    model.attrs["trained_on"] = upstream.weights_digest
    if X is not None:
        _init_docs[model.id] = WeakSet(X)


def connect(
    model: Model[Any, Any],
    source: Any,
    consumer: str,
    n_layers: int | None,
    width: int | None,
    static_width: int | None,
) -> None:
    """Connect a listener of `consumer` to the component `source`, and end its initialization."""
    sizes = {"n_layers": n_layers, "width": width, "static_width": static_width}
    model.attrs.update(source=source.name, consumer=consumer, **sizes)
    if model.attrs["upstream"] != "*":
        model.attrs["upstream"] = source.name  # the component may have been renamed
    _init_docs.pop(model.id, None)


def listens_to(model: Model[Any, Any], source: Any) -> bool:
    """Return whether a layer is a listener to a component, by its current or previous name.

    The previous name counts only until other attributes are loaded: a config keeps the names from before a
    renaming, and what was saved after it is right. A listener to "*" that is initialized does not move to a
    component with another biLM, as where its own is disabled.
    """
    if model.name != NAME:
        return False
    link = source.link_of(model)
    if link is not None and link.name == model.attrs["source"]:
        return True
    if model.attrs["upstream"] != "*":
        return bool(model.attrs["upstream"] == source.name)
    trained_on = model.attrs["trained_on"]
    return trained_on is None or model.attrs["source"] == source.name or trained_on == source.weights_digest


def whole_tok2vec_width(model: Model[Any, Any]) -> int | None:
    """Return the width of the listener that is the whole tok2vec of a model; None if there is none."""
    listener = model.maybe_get_ref("tok2vec")
    if listener is None or listener.name != NAME or not listener.attrs["width"]:
        return None
    return sum(_widths(listener))


def _annotate_missing(model: Model[Any, Any], docs: Sequence[Doc]) -> None:
    """Run the component if a consumer is updated without it, as `spacy debug model` does."""
    upstream = upstream_of(model)
    if upstream is not None:
        missing = [doc for doc in docs if _find(model, doc) is None]
        if missing and upstream.runs_before(model.attrs["consumer"]):
            upstream.annotate(missing)


def _find(model: Model[Any, Any], doc: Doc) -> Vectors | None:
    """Return the vectors of the source; under its new name, if it was renamed in another pipeline."""
    vectors = find_vectors(doc, model.attrs["source"], former=False)
    if vectors is not None:
        return vectors
    upstream = upstream_of(model)
    return None if upstream is None else find_vectors(doc, upstream.name, former=False)


def _read(model: Model[Any, Any], doc: Doc, is_train: bool) -> Vectors:
    source, consumer = model.attrs["source"], model.attrs["consumer"]
    if not source:
        raise ValueError(_no_source(model))
    vectors = _find(model, doc)
    if vectors is None:
        if not is_train and doc in _init_docs.get(model.id, ()):
            return _zeros(model, len(doc))
        upstream = upstream_of(model)
        if model.attrs.get("reads_parts") and upstream is not None and upstream.runs_before(consumer):
            upstream.set_annotations([doc], upstream.predict([doc]))
            vectors = _find(model, doc)
    if vectors is None:
        raise ValueError(
            f'"{consumer}" needs the vectors of "{source}", which has not run on this Doc: '
            f'put "{source}" before it, do not disable or exclude it, and in training omit it from '
            "frozen_components (it freezes itself)."
        )
    check_tokens(doc, vectors, source)
    n_layers, _, width = vectors.layers.shape
    depth = model.attrs["n_layers"]
    if depth is not None and n_layers != depth:
        raise ValueError(
            f'"{consumer}" was made for {depth} layers, but "{source}" set {n_layers} '
            "on this Doc: use the model that it was trained with, or train it again."
        )
    width += vectors.static.shape[1] * model.attrs["use_static_vectors"]
    expected = _expected_width(model)
    if expected is not None and width != expected:
        raise ValueError(
            f'"{consumer}" was made for vectors of width {expected}, but "{source}" gives '
            f"{width}: use the model that it was trained with, or train it again."
        )
    return vectors


def _zeros(model: Model[Any, Any], n: int) -> Vectors:
    layers = np.zeros((model.attrs["n_layers"], n, model.attrs["width"]), dtype=np.float32)
    static = np.zeros((n, model.attrs["static_width"] or 0), dtype=np.float32)
    return Vectors(layers, static, *(np.zeros(n, dtype=np.uint64),) * 2)


def _widths(model: Model[Any, Any]) -> tuple[int, int]:
    """Return D, and S if static vectors are wanted."""
    return model.attrs["width"], (model.attrs["static_width"] or 0) * model.attrs["use_static_vectors"]


def _expected_width(model: Model[Any, Any]) -> int | None:
    """Return the width of the vectors that the consumer was made for; None before it is initialized."""
    mix = model.layers[0]
    owner, dim = (model, "nO") if mix.has_dim("nI") is False else (mix, "nI")
    return owner.get_dim(dim) if owner.has_dim(dim) else None


def _no_source(model: Model[Any, Any]) -> str:
    upstream, consumer = model.attrs["upstream"], model.attrs["consumer"]
    wanted = "elmo" if upstream == "*" else upstream
    who = f'"{consumer}"' if consumer else "A component"
    return (
        f'{who} listens to "{wanted}", but there is none before it in the pipeline: '
        f'add the component "{wanted}" in front of it.'
    )

"""Access the layers of docs, spans and tokens: `doc._.elmo`, `span._.elmo`, `token._.elmo`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from operator import index
from typing import Any, SupportsIndex

import numpy as np
from spacy.tokens import Doc, Span, Token

from ...errors import ElmoError
from ...kernels import token_ops
from .doc_vectors import Vectors, check_token, check_tokens, drop_vectors, find_vectors, write_vectors

LayerSpec = SupportsIndex | str | None  # an int of NumPy is a SupportsIndex, too


class LayerAccess(ABC):
    """Access to layers by number and by name.

    L layers (3 with two LSTM layers), D their width (both directions), n tokens.
    """

    @property
    @abstractmethod
    def layers(self) -> np.ndarray:
        """(L, n, D) float32; (L, D) for a token.

        Layer 0 is the embedding of each direction (the same twice, except for models with n-grams). Layer j
        is [forward_j; backward_j].
        """

    @property
    @abstractmethod
    def static_vectors(self) -> np.ndarray:
        """(n, S) float32, (S,) for a token: vectors that do not depend on the context; S may be 0.

        See BiLM.static_vectors_of.
        """

    @property
    def mean(self) -> np.ndarray:
        """(n, D), the plain average of the layers, computed at each access."""
        return select_layer(self.layers)

    @property
    def embedding(self) -> np.ndarray:
        """(n, D), layer 0: independent of the context, except for n-grams across the edges of a word."""
        return self.get_layer("embedding")

    @property
    def lstm1(self) -> np.ndarray:
        """(n, D), layer 1, which captures more syntax (Peters et al. 2018, section 5.3)."""
        return self.get_layer("lstm1")

    @property
    def lstm2(self) -> np.ndarray:
        """(n, D), layer 2, which captures more of word senses (Peters et al. 2018, section 5.3)."""
        return self.get_layer("lstm2")

    def get_layer(self, layer: LayerSpec = None) -> np.ndarray:
        """Return a layer, (n, D): 0, 1, 2 or "embedding", "lstm1", "lstm2"; None or "mean": the mean."""
        return select_layer(self.layers, layer)


class ElmoOutput(LayerAccess):
    """The layers of a Doc's tokens: `doc._.elmo`.

    Every access raises an ElmoError if the Doc no longer has the tokens that the vectors belong to. The
    arrays of `layers`, `embedding`, `lstm1` and `lstm2` are views of one array, so a row keeps all of it in
    memory. `token_vector` and `span_vector` return copies.
    """

    def __init__(self, doc: Doc, vectors: Vectors, name: str = "elmo"):
        self.doc = doc
        self.name = name
        self._vectors = vectors

    def __repr__(self) -> str:
        n_layers, n_tokens, width = self._vectors.layers.shape
        return f"<ElmoOutput {self.name}: {n_layers} layers, {n_tokens} tokens, width {width}>"

    @property
    def layers(self) -> np.ndarray:
        """(L, n, D) float32, see LayerAccess.layers."""
        check_tokens(self.doc, self._vectors, self.name)
        return self._vectors.layers

    @property
    def static_vectors(self) -> np.ndarray:
        """(n, S) float32, see LayerAccess.static_vectors."""
        check_tokens(self.doc, self._vectors, self.name)
        return self._vectors.static

    def token_vector(self, token: Token | SupportsIndex, layer: LayerSpec = None) -> np.ndarray:
        """Return the vector of a token (or of its index in the Doc), (D,), in constant time.

        Args:
            token: The token or its index.
            layer: See get_layer.

        Raises:
            ElmoError: The token belongs to another Doc, the vectors belong to other tokens, or `token` is
                neither a token nor an index.
        """
        if not isinstance(token, Token):
            i = _to_index(token)
            if i is None:
                raise ElmoError(
                    f"token_vector takes a token or its index, not an object of type {type(token).__name__}: "
                    "use span_vector for spans and docs."
                )
            token = self.doc[i]
        vector: np.ndarray = select_layer(self._part(to_span(token)), layer)[0].copy()
        return vector

    def span_vector(self, span: Span | Doc | Token, layer: LayerSpec = None) -> np.ndarray:
        """Return the mean vector of the tokens of a span, (D,); zeros for an empty span.

        Args:
            span: The span, the Doc, or a single token.
            layer: See get_layer.

        Raises:
            ElmoError: The span belongs to another Doc, the vectors belong to other tokens, or `span` is
                something else.
        """
        rows = select_layer(self._part(to_span(span)), layer)
        return rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1], dtype=np.float32)

    def of_token(self, token: Token) -> "PartOutput":
        """Return all layers of a token, (L, D), as a copy: `token._.elmo`."""
        layers = self._part(to_span(token))
        return PartOutput(layers[:, 0].copy(), self._vectors.static[token.i].copy())

    def of_span(self, span: Span) -> "PartOutput":
        """Return all layers of the tokens of a span, (L, n, D), as a copy: `span._.elmo`."""
        layers = self._part(span)
        return PartOutput(layers.copy(), self._vectors.static[span.start : span.end].copy())

    def _part(self, span: Span) -> np.ndarray:
        """Return a view (L, n, D) after checking that it belongs to the tokens of the span."""
        if span.doc is not self.doc:
            raise ElmoError(f"These tokens belong to another Doc: use the doc._.{self.name} of that Doc.")
        if len(span) == len(self.doc):
            return self.layers
        for token in span:
            check_token(token, self._vectors, self.name)
        return self._vectors.layers[:, span.start : span.end]


class PartOutput(LayerAccess):
    """The layers of a token or of a span's tokens, as a copy: `token._.elmo`, `span._.elmo`."""

    def __init__(self, layers: np.ndarray, static: np.ndarray):
        self._layers = layers
        self._static = static

    def __repr__(self) -> str:
        n_layers, *n_tokens, width = self._layers.shape
        tokens = "".join(f" {n} tokens," for n in n_tokens)
        return f"<PartOutput: {n_layers} layers,{tokens} width {width}>"

    @property
    def layers(self) -> np.ndarray:
        """(L, n, D) float32, (L, D) for a token; see LayerAccess.layers."""
        return self._layers

    @property
    def static_vectors(self) -> np.ndarray:
        """(n, S) float32, (S,) for a token; see LayerAccess.static_vectors."""
        return self._static


def select_layer(layers: np.ndarray, layer: LayerSpec = None) -> np.ndarray:
    """Return one of the layers, (L, ..., D) -> (..., D): 0, 1, 2 or its name; None or "mean": their mean."""
    if layer is None or (isinstance(layer, str) and layer == "mean"):
        return mean_layer(layers) if layers.ndim == 3 else mean_layer(layers[:, None])[0]
    names = ["embedding", *(f"lstm{i}" for i in range(1, len(layers)))]
    i = names.index(layer) if isinstance(layer, str) and layer in names else _to_index(layer)
    if i is None or not 0 <= i < len(names):
        known = ", ".join(f'{i} or "{name}"' for i, name in enumerate(names))
        raise ElmoError(f"The layer {layer!r} does not exist: use {known}, or None for the mean.")
    selected: np.ndarray = layers[i]
    return selected


def _to_index(value: Any) -> int | None:
    """Return a whole number as an int, also one of NumPy; None for anything else, and for a bool."""
    try:
        return None if isinstance(value, bool) else index(value)
    except TypeError:
        return None


def to_span(item: Token | Span | Doc) -> Span:
    """Return a token, a span or a whole Doc as a Span. Raises an ElmoError for anything else."""
    if isinstance(item, Token):
        return item.doc[item.i : item.i + 1]
    if isinstance(item, Doc):
        return item[:]
    if isinstance(item, Span):
        return item
    raise ElmoError(
        "Vectors belong to tokens: give a token, a span or a Doc, not an object of type "
        f"{type(item).__name__}."
    )


def mean_layer(layers: np.ndarray) -> np.ndarray:
    """Return the mean (n_tokens, D) of layers (L, n_tokens, D)."""
    return mean_layers([layers])[0]


def mean_layers(layers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the means of several arrays of layers, in the native kernel with several threads if possible."""
    if token_ops.available() and all(each.dtype == np.float32 for each in layers):
        return token_ops.mean_layers(layers)
    return [_mean_layer(each) for each in layers]


def _mean_layer(layers: np.ndarray) -> np.ndarray:
    """Return the mean of layers, three times as fast as NumPy's mean, which divides by an integer."""
    sums: np.ndarray = np.add.reduce(layers, axis=0)
    sums *= np.float32(1 / len(layers))
    return sums


def get_output(doc: Doc, *, name: str) -> ElmoOutput | None:
    """Return the vectors on a Doc; None if the component has not run or its vectors were removed."""
    vectors = find_vectors(doc, name)
    return None if vectors is None else ElmoOutput(doc, vectors, name)


def get_part_output(item: Token | Span, *, name: str) -> PartOutput | None:
    """Return the vectors of a token or a span; None if the component has not run on the Doc."""
    output = get_output(item.doc, name=name)
    if output is None:
        return None
    return output.of_token(item) if isinstance(item, Token) else output.of_span(item)


def set_layers(doc: Doc, value: np.ndarray | ElmoOutput | None, *, name: str) -> None:
    """Set `doc._.<name>`. value: (L, n_tokens, D); None removes the vectors, as `doc_cleaner` does.

    The type becomes float32. Static vectors are removed: they belong to another model or other tokens.
    Raises an ElmoError for another shape, no layers, anything but real numbers, or an output of other tokens.
    """
    if value is None:
        drop_vectors(doc, name)
        return
    if isinstance(value, ElmoOutput):
        check_tokens(doc, value._vectors, name)
        layers, static = value.layers, value.static_vectors
        write_vectors(doc, name, layers, static)
        return
    if (
        not isinstance(value, np.ndarray)
        or value.ndim != 3
        or not len(value)
        or value.dtype.kind not in "fiu"
    ):
        raise ElmoError(
            f"doc._.{name} takes a NumPy array of real numbers, (layers, tokens, width), with at least one "
            "layer, or None to drop it."
        )
    if value.shape[1] != len(doc):
        raise ElmoError(
            f"doc._.{name} takes vectors of the Doc's {len(doc)} tokens, not of {value.shape[1]}."
        )
    write_vectors(doc, name, value.astype(np.float32, copy=False))


def register_extension(name: str = "elmo") -> None:
    """Register `doc._.<name>`, `span._.<name>` and `token._.<name>`.

    A component registers its own name when it is created. Call this function to read docs with stored vectors
    without such a component.

    Args:
        name: Name of the extension.

    Raises:
        ElmoError: Another extension has the name.
    """
    setter = partial(set_layers, name=name)
    missing = []
    for owner, getter in ((Doc, get_output), (Span, get_part_output), (Token, get_part_output)):
        if not owner.has_extension(name):
            missing.append((owner, getter))
            continue
        known = owner.get_extension(name)[2]
        if not (isinstance(known, partial) and known.func is getter):
            raise ElmoError(
                f"{owner.__name__.lower()}._.{name} is already used by another extension: give the component "
                "another name."
            )
    for owner, getter in missing:
        owner.set_extension(name, getter=partial(getter, name=name), setter=setter if owner is Doc else None)

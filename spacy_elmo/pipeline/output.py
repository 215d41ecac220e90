"""What a Doc carries: the layers of its tokens, by name, for tokens and spans, and similarity by layer.

The raw array lies in `doc.user_data`, so that it survives `n_process`, `doc.to_bytes()`, `Doc.copy()` and
`DocBin(store_user_data=True)`. It costs 4 * L * D bytes a token; `doc._.elmo = None` drops it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from spacy.tokens import Doc, Span, Token

from ..bilm.inference import tasks

Layer = int | str | None

STATIC = "_static"  # behind a component's name, in the key of the static vectors


class ElmoOutput:
    """The layers of a Doc's tokens, as the component left them: `doc._.elmo`.

    L layers (3 with two LSTM layers), D their width, both directions together. Every access raises a
    ValueError when the Doc no longer has the tokens that the vectors were made for.
    """

    def __init__(self, doc: Doc, layers: np.ndarray, name: str = "elmo"):
        self.doc = doc
        self.name = name
        self._layers = layers

    def __repr__(self) -> str:
        n_layers, n_tokens, width = self._layers.shape
        return f"<ElmoOutput {self.name}: {n_layers} layers, {n_tokens} tokens, width {width}>"

    @property
    def layers(self) -> np.ndarray:
        """(L, n_tokens, D) float32. Layer 0 is the embedding of each direction (the same twice but
        for models with n-grams), layer j is [forward_j; backward_j].
        """
        check_length(self.doc, self._layers, self.name)
        return self._layers

    @property
    def mean(self) -> np.ndarray:
        """(n_tokens, D), the plain average of the layers."""
        return mean_of(self.layers)

    @property
    def embedding(self) -> np.ndarray:
        """(n_tokens, D), layer 0: the same for a word wherever it stands, but for n-grams over its edges."""
        return self.layer("embedding")

    @property
    def lstm1(self) -> np.ndarray:
        """(n_tokens, D), layer 1: leans towards syntax (Peters et al. 2018, section 5.3)."""
        return self.layer("lstm1")

    @property
    def lstm2(self) -> np.ndarray:
        """(n_tokens, D), layer 2: leans towards word senses (Peters et al. 2018, section 5.3)."""
        return self.layer("lstm2")

    @property
    def static(self) -> np.ndarray:
        """(n_tokens, S), each token by itself, whatever stands around it (BiLM.static); S is 0 for a model
        without such vectors."""
        check_length(self.doc, self._layers, self.name)
        return read_static(self.doc, self.name)

    def layer(self, layer: Layer = None) -> np.ndarray:
        """(n_tokens, D) of a layer: 0, 1, 2 or "embedding", "lstm1", "lstm2"; None or "mean": the mean."""
        if layer is None or layer == "mean":
            return self.mean
        names = ["embedding", *(f"lstm{i}" for i in range(1, len(self._layers)))]
        index = names.index(layer) if layer in names else layer
        if not isinstance(index, int) or not 0 <= index < len(names):
            known = ", ".join(f'{i} or "{name}"' for i, name in enumerate(names))
            raise ValueError(f"There is no layer {layer!r}: use {known}, or None for the mean.")
        return self.layers[index]

    def token(self, token: Token | int, layer: Layer = None) -> np.ndarray:
        """(D,), the vector of a token (or of its index in the Doc). layer: as of layer()."""
        return self.layer(layer)[token.i if isinstance(token, Token) else token]

    def span(self, span: Span | Doc, layer: Layer = None) -> np.ndarray:
        """(D,), the mean over the tokens of a span, zeros for an empty one. layer: as of layer()."""
        rows = self.layer(layer)
        rows = rows[span.start : span.end] if isinstance(span, Span) else rows
        return rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1], dtype=np.float32)


def similarity(
    a: Token | Span | Doc, b: Token | Span | Doc, layer: Layer = None, *, name: str = "elmo"
) -> float:
    """Cosine of the contextual vectors of two tokens, spans or docs; they may be of different docs.

    Unlike `Token.similarity`, it does not take two occurrences of a word for the same.
    layer: 0, 1, 2 (or "embedding", "lstm1", "lstm2"); None: the mean of the layers. A span's vector is the
    mean of its tokens'. name: of the component, where it is not "elmo".
    Returns a number from -1 to 1; 0.0 where one of the vectors is zero (white space).
    Raises a ValueError without the component's annotations.
    """
    x, y = _vector(a, layer, name), _vector(b, layer, name)
    if x.shape != y.shape:
        raise ValueError(
            f"These vectors cannot be compared: they are of two models, {len(x)} and {len(y)} wide."
        )
    norm = float(np.linalg.norm(x)) * float(np.linalg.norm(y))
    return float(np.clip(np.dot(x, y) / norm, -1.0, 1.0)) if norm else 0.0


def _vector(item: Token | Span | Doc, layer: Layer, name: str) -> np.ndarray:
    output = get_output(item if isinstance(item, Doc) else item.doc, name=name)
    if output is None:
        raise ValueError(
            f'There is no doc._.{name} to compare: process the text with a pipeline that has "{name}", '
            "and clean its vectors up afterwards only."
        )
    return output.token(item, layer) if isinstance(item, Token) else output.span(item, layer)


def mean_of(layers: np.ndarray) -> np.ndarray:
    """(n_tokens, D) of (L, n_tokens, D)."""
    return means_of([layers])[0]


def means_of(layers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same of several, natively and on several threads where that can be."""
    if tasks.available() and all(each.dtype == np.float32 for each in layers):
        return tasks.means(layers)
    return [_mean(each) for each in layers]


def _mean(layers: np.ndarray) -> np.ndarray:
    """numpy's own mean divides by an integer, three times as slowly."""
    sums: np.ndarray = np.add.reduce(layers, axis=0)
    sums *= np.float32(1 / len(layers))
    return sums


def get_output(doc: Doc, *, name: str) -> ElmoOutput | None:
    """The extension's getter: None when the component has not run or its vectors were dropped."""
    layers = read_layers(doc, name)
    return None if layers is None else ElmoOutput(doc, layers, name)


def set_layers(doc: Doc, value: np.ndarray | ElmoOutput | None, *, name: str) -> None:
    """The extension's setter. value: (L, n_tokens, D); None drops the vectors (`doc_cleaner` does so)."""
    if value is None:
        for key in (_key(name), _key(name + STATIC)):
            _user_data(doc).pop(key, None)
        return
    layers = value.layers if isinstance(value, ElmoOutput) else value
    if getattr(layers, "ndim", None) != 3:
        raise ValueError(f"doc._.{name} takes an array of (layers, tokens, width), or None to drop it.")
    check_length(doc, layers, name)
    _user_data(doc)[_key(name)] = layers


def read_layers(doc: Doc, name: str) -> np.ndarray | None:
    """(L, n_tokens, D) float32 as stored, without any check; None when there is nothing."""
    return _user_data(doc).get(_key(name))


def set_static(doc: Doc, static: np.ndarray, *, name: str) -> None:
    """Leave the static vectors (n_tokens, S) of a Doc's tokens beside its layers; none if S is 0."""
    if static.shape[1]:
        _user_data(doc)[_key(name + STATIC)] = static


def read_static(doc: Doc, name: str) -> np.ndarray:
    """(n_tokens, S) float32, S = 0 where there are none."""
    static = _user_data(doc).get(_key(name + STATIC))
    return np.zeros((len(doc), 0), dtype=np.float32) if static is None else static


def check_length(doc: Doc, layers: np.ndarray, name: str) -> None:
    """Raise a ValueError if the vectors are not those of the Doc's tokens, as after retokenization."""
    if layers.shape[1] != len(doc):
        raise ValueError(
            f"doc._.{name} was made for {layers.shape[1]} tokens, but the Doc has {len(doc)} now: "
            f'run "{name}" after whatever merges or splits tokens.'
        )


def register_extension(name: str) -> None:
    """Make `doc._.<name>` known. Raises a ValueError when the name is taken by somebody else's extension."""
    if Doc.has_extension(name):
        getter = Doc.get_extension(name)[2]
        if not (isinstance(getter, partial) and getter.func is get_output):
            raise ValueError(
                f"doc._.{name} is already used by another extension: give the component another name."
            )
        return
    Doc.set_extension(name, getter=partial(get_output, name=name), setter=partial(set_layers, name=name))


def _user_data(doc: Doc) -> dict[Any, Any]:
    return doc.user_data  # spaCy's type stub says that its keys are strings


def _key(name: str) -> tuple[str, str, None, None]:
    return ("._.", name, None, None)  # spaCy's own form of key, so that it serialises with the rest


# Docs that were stored with their vectors are readable without a pipeline.
register_extension("elmo")

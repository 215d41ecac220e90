"""The model of the lexical analyzer: an encoder of characters and three heads with a CRF each."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model, get_array_module
from thinc.types import Floats2d

from .crf_layer import CRFLayer

HEADS = ("segment", "tag", "entity")
"""Heads of characters, of words and of words."""


def LexicalAnalyzerModel(tok2vec: Model[list[Doc], list[Floats2d]]) -> Model[Any, Any]:
    """Create the layer List[Doc] -> List[Floats2d (n_tokens, 4)], scores of BMES labels.

    The component uses the heads. References: tok2vec, and each of HEADS, a CRFLayer. The heads of words read
    word_vectors.
    """
    heads = [CRFLayer() for _ in HEADS]
    model: Model[Any, Any] = Model(
        "elmo-lexical-analyzer",
        forward,
        init=init,
        layers=[tok2vec, *heads],
        refs={"tok2vec": tok2vec, **dict(zip(HEADS, heads, strict=True))},
    )
    return model


def forward(
    model: Model[Any, Any], docs: Sequence[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[..., Any]]:
    """Return the scores of the first head, and the backprop function."""
    H, backprop_tok2vec = model.get_ref("tok2vec")(docs, is_train)
    Y, backprop_head = model.get_ref(HEADS[0])(H, is_train)
    return Y, lambda dY: backprop_tok2vec(backprop_head(dY))


def init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    """Initialize the tok2vec and all heads."""
    tok2vec = model.get_ref("tok2vec")
    tok2vec.initialize(X)
    if X is None:
        return
    H = tok2vec.predict(X)
    model.get_ref(HEADS[0]).initialize(H)
    for name in HEADS[1:]:
        model.get_ref(name).initialize([word_vectors(h, [(0, 1)] if len(h) else []) for h in H])


def word_vectors(H: Floats2d, words: Sequence[tuple[int, int]]) -> Floats2d:
    """Return vectors of words (n_words, 2 W): that of the last token, and that of the first token."""
    xp: Any = get_array_module(H)
    first, last = _edges(words, xp)
    vectors: Floats2d = xp.concatenate([H[last], H[first]], axis=1)
    return vectors


def add_gradient(dH: Floats2d, dX: Floats2d, words: Sequence[tuple[int, int]]) -> None:
    """Add the gradient of word_vectors to that of the tokens, in place."""
    first, last = _edges(words, get_array_module(dH))
    width, total = dH.shape[1], cast(Any, dH)
    total[last] += dX[:, :width]  # each token is the last of at most one word
    total[first] += dX[:, width:]


def _edges(words: Sequence[tuple[int, int]], xp: Any) -> tuple[Any, Any]:
    spans = xp.asarray(np.array(words, dtype=np.int64).reshape(-1, 2))
    return spans[:, 0], spans[:, 1] - 1

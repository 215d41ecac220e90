"""Vectors of a word in a sentence: layers of a biLM, its context, static vectors of the context, e5."""

import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.pipeline.concordance import Occurrence, Segment, mean_of_others, unit_rows

SCRIPTS = Path(__file__).parents[1] / "projects" / "zh_elmo" / "scripts"


class Sentence(NamedTuple):
    """The tokens of a sentence: the word is one of them."""

    tokens: list[str]
    at: int
    """Index of the word."""


class Vectors(NamedTuple):
    """States of a biLM for n words in their sentences."""

    own: np.ndarray
    """(L, n, D), the states of the words."""
    context: np.ndarray
    """(L, n, D), the mean of the states of the other tokens of each sentence; zeros without other tokens."""


def split(occurrence: Occurrence, segment: Segment | None = None, *, reach: int | None = None) -> Sentence:
    """Split a sentence at a word: characters around it, or the words of a segmenter.

    reach: number of tokens to keep on each side. Default: all of them.
    """
    cut = segment or list
    before, after = _around(occurrence)
    tokens_before, tokens_after = cut(before), cut(after)
    if reach is not None:
        tokens_before, tokens_after = (
            tokens_before[max(0, len(tokens_before) - reach) :],
            tokens_after[:reach],
        )
    word = occurrence.sentence[occurrence.start : occurrence.end]
    return Sentence([*tokens_before, word, *tokens_after], len(tokens_before))


def vectors(bilm: Model[Any, Any], sentences: Sequence[Sentence]) -> Vectors:
    """Return the states of the words and of their contexts. bilm: a spacy-elmo.BiLM.v1."""
    vocab = Vocab()
    docs = [Doc(vocab, words=tokens, spaces=[False] * len(tokens)) for tokens, _ in sentences]
    layers = bilm.predict(docs)  # (L, n_tokens, D) each
    own = [each[:, [at]] for each, (_, at) in zip(layers, sentences, strict=True)]
    context = [mean_of_others(each, [at]) for each, (_, at) in zip(layers, sentences, strict=True)]
    return Vectors(np.concatenate(own, axis=1), np.concatenate(context, axis=1))


def with_context(found: Vectors, layer: int) -> np.ndarray:
    """Return the sum of a word's state and its context's, both of norm 1: (n, D)."""
    return unit_rows(found.own[layer]) + unit_rows(found.context[layer])


def longest_strings(text: str, known: Iterable[str]) -> list[str]:
    """Return the longest known strings in a text, from left to right; other characters are left out.

    >>> longest_strings("他在北京打球", ["北", "北京", "京打", "球"])
    ['北京', '球']
    """
    known = known if isinstance(known, set) else set(known)
    longest = max(map(len, known), default=0)
    found, start = [], 0
    while start < len(text):
        ends = range(min(len(text), start + longest), start, -1)
        end = next((end for end in ends if text[start:end] in known), None)
        if end is not None:
            found.append(text[start:end])
        start = end or start + 1
    return found


def static_context(bilm: BiLM, places: Sequence[Occurrence]) -> np.ndarray:
    """Return the mean static vector of the longest strings of the table before and after each word, (n, S).

    The word itself is left out, because its vector is the same in all sentences.
    """
    known = set(bilm.vocab.static)
    strings = [[s for side in _around(place) for s in longest_strings(side, known)] for place in places]
    rows = bilm.static_vectors_of([s for each in strings for s in each])
    cuts = np.cumsum([0, *map(len, strings)])
    means = [rows[start:end].sum(axis=0) / max(1, end - start) for start, end in pairwise(cuts.tolist())]
    return np.stack(means)


def e5_layers(sentences: Sequence[Sentence]) -> np.ndarray:
    """Return the layers of e5 for each word, (13, n, 384).

    The vector of a word is the mean of the pieces that share characters with it.
    """
    if str(SCRIPTS) not in sys.path:
        sys.path.append(str(SCRIPTS))
    from e5_encoder import E5Encoder

    texts = ["".join(tokens) for tokens, _ in sentences]
    starts = [len("".join(tokens[:at])) for tokens, at in sentences]
    spans = [
        [(start, start + len(tokens[at]))] for start, (tokens, at) in zip(starts, sentences, strict=True)
    ]
    return np.concatenate(E5Encoder().layers_of_tokens(texts, spans), axis=1)


def _around(occurrence: Occurrence) -> tuple[str, str]:
    """Return the text before and after a word."""
    return occurrence.sentence[: occurrence.start], occurrence.sentence[occurrence.end :]

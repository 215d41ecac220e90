"""Find occurrences of a word in running text, with their vectors and nearest neighbours.

A word is found as a string: Chinese segmenters disagree on words, and a biLM of characters needs none.
"""

import math
import re
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model

from ..errors import ElmoError
from ..text import is_east_asian, normalize, sentence_spans

Segment = Callable[[str], list[str]]


@dataclass(frozen=True)
class Occurrence:
    """An occurrence of a word in a sentence."""

    sentence: str
    """The sentence, without white space around it."""
    start: int
    """Offset of its first character in the sentence."""
    end: int
    """Offset after its last character."""


@dataclass(frozen=True)
class Neighbour:
    """An occurrence, with its similarity to the query."""

    similarity: float
    """Cosine, from -1 to 1."""
    occurrence: Occurrence


def occurrences(text: str, word: str, *, fold_fullwidth: bool = True) -> Iterator[list[Occurrence]]:
    """Yield the occurrences of `word` in each sentence of `text` that has any, in order, without overlap.

    Every place with the string counts, also inside a longer Chinese word (行 in 自行车), but not inside a
    longer word of a script with spaces (AI in MAIL). fold_fullwidth: treat full-width letters and digits as
    ordinary ones.

    >>> [[o.start for o in found] for found in occurrences("他打球。我打字，她打水。", "打")]
    [[1], [1, 5]]
    """
    pattern = re.compile("".join(map(_either_width, word) if fold_fullwidth else re.escape(word)))
    if not word.strip() or not pattern.search(text):  # most of a long text does not hold the word
        return
    for begin, end in sentence_spans(text):
        sentence = text[begin:end].strip()
        places = (match.span() for match in pattern.finditer(sentence))
        found = [Occurrence(sentence, *place) for place in places if not _splits_word(sentence, *place)]
        if found:
            yield found


def iter_tokens(text: str, segment: Segment, *, fold_fullwidth: bool = True) -> Iterator[list[Occurrence]]:
    """Yield all tokens of each sentence of `text`, except white space.

    segment: function from a sentence to its tokens, in order. fold_fullwidth: its tokens are folded, see
    text.normalize.
    """
    fold = normalize if fold_fullwidth else str
    for begin, end in sentence_spans(text):
        sentence = text[begin:end].strip()
        folded, found, at = fold(sentence), [], 0
        for token in segment(sentence):
            if not token.isspace():
                start = folded.index(token, at)
                at = start + len(token)
                found.append(Occurrence(sentence, start, at))
        yield found


def occurrence_vectors(
    bilm: Model[Any, Any], sentences: Sequence[Sequence[Occurrence]], segment: Segment | None = None
) -> np.ndarray:
    """Return the layers of occurrences, concatenated: (L, n, D) float32.

    Each occurrence is treated as one token.

    Args:
        bilm: A spacy-elmo.BiLM.v1.
        sentences: Occurrences of each sentence, ascending, without overlap.
        segment: For a biLM of words, the segmenter of the rest of a sentence; None for one of characters.
    """
    layers, places = _encode(bilm, sentences, segment)
    return np.concatenate([all_[:, tokens] for all_, tokens in zip(layers, places, strict=True)], axis=1)


def search_vectors(
    bilm: Model[Any, Any],
    sentences: Sequence[Sequence[Occurrence]],
    layer: int | None,
    *,
    sentence_weight: float = 0.0,
    segment: Segment | None = None,
) -> np.ndarray:
    """Return vectors by which occurrences are compared: (n, D) float32 of norm 1, so products are cosines.

    Args:
        bilm: A spacy-elmo.BiLM.v1.
        sentences: Occurrences of each sentence, ascending, without overlap.
        layer: Index of a layer; None: the mean of the layers.
        sentence_weight: Add this times the mean of the sentence's other tokens. Both are scaled to norm 1
            before. A weight of 1 helps if the senses of a word belong to different topics.
        segment: For a biLM of words, the segmenter of the rest of a sentence; None for one of characters.

    Raises:
        ElmoError: sentence_weight is negative, infinite or not a number.
    """
    if not 0.0 <= sentence_weight < math.inf:
        raise ElmoError(f"sentence_weight = {sentence_weight} is not a weight: give a number of at least 0.")
    if not sentence_weight:
        return select_layer(occurrence_vectors(bilm, sentences, segment), layer)
    layers, places = _encode(bilm, sentences, segment or list)
    words = np.concatenate([all_[:, tokens] for all_, tokens in zip(layers, places, strict=True)], axis=1)
    others = np.concatenate([mean_of_others(*each) for each in zip(layers, places, strict=True)], axis=1)
    return unit_rows(select_layer(words, layer) + sentence_weight * select_layer(others, layer))


def mean_of_others(layers: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
    """Return the mean of the other tokens' layers for some tokens of a sentence: (L, k, D).

    layers: (L, n_tokens, D). tokens: k indices. Zeros for the only token of a sentence.
    """
    total = layers.sum(axis=1, keepdims=True)
    others: np.ndarray = (total - layers[:, tokens]) / max(1, layers.shape[1] - 1)
    return others


def _encode(
    bilm: Model[Any, Any], sentences: Sequence[Sequence[Occurrence]], segment: Segment | None
) -> tuple[list[np.ndarray], list[list[int]]]:
    """Return the layers (L, n_tokens, D) of each sentence, and the indices of its occurrences."""
    vocab = Vocab()  # a new one each time, because it keeps every string
    docs, places = [], []
    for found in sentences:
        words: list[str] = []
        tokens: list[int] = []
        at = 0
        for each in found:
            words += _rest(each.sentence[at : each.start], segment)
            tokens.append(len(words))
            words.append(each.sentence[each.start : each.end])
            at = each.end
        words += _rest(found[0].sentence[at:], segment) if found else []
        docs.append(Doc(vocab, words=words, spaces=[False] * len(words)))
        places.append(tokens)
    return bilm.predict(docs), places


def select_layer(layers: np.ndarray, layer: int | None) -> np.ndarray:
    """Return one layer (n, D) of (L, n, D), scaled to norm 1, so that products are cosines.

    None: the mean.
    """
    chosen = layers.mean(axis=0) if layer is None else layers[layer]
    return unit_rows(chosen)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Scale rows (..., D) to norm 1. Zeros stay zeros."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: np.ndarray = rows / np.where(norms > 0.0, norms, 1.0)
    return scaled


class TopK:
    """The n nearest occurrences of a stream; it stores only these, and each sentence once.

    Args:
        query: (D,), of norm 1.
        n: Number of occurrences to keep.
        query_occurrence: Occurrence of the query, which is excluded.
    """

    def __init__(self, query: np.ndarray, n: int, query_occurrence: Occurrence):
        self.query = query
        self.n = n
        self.query_occurrence = query_occurrence
        self.compared = 0
        """Number of compared occurrences."""
        self.best: list[Neighbour] = []
        """Nearest occurrences, the nearest first."""

    def add(self, found: Sequence[Occurrence], rows: np.ndarray) -> None:
        """Compare occurrences. rows: (n, D), their vectors, of norm 1."""
        for occurrence, cosine in zip(found, (rows @ self.query).tolist(), strict=True):
            if occurrence == self.query_occurrence:
                continue
            self.compared += 1
            if len(self.best) == self.n and cosine <= self.best[-1].similarity:
                continue
            # Texts repeat themselves; skip the same sentence.
            if any(known.occurrence == occurrence for known in self.best):
                continue
            insort(self.best, Neighbour(cosine, occurrence), key=lambda known: -known.similarity)
            del self.best[self.n :]


def _either_width(character: str) -> str:
    """Return a pattern for a letter or digit in its full-width and its ordinary form."""
    narrow = normalize(character)
    wide = chr(ord(narrow) + 0xFEE0) if narrow.isascii() else narrow
    return f"[{narrow}{wide}]" if normalize(wide) == narrow != wide else re.escape(character)


def _rest(text: str, segment: Segment | None) -> list[str]:
    """Return the tokens between two occurrences."""
    if not text:
        return []
    return [text] if segment is None else segment(text)


def _splits_word(text: str, start: int, end: int) -> bool:
    """Return whether an edge lies between two letters or digits of a script with spaces."""
    edges = (edge for edge in (start, end) if 0 < edge < len(text))
    return any(_is_letter(text[edge - 1]) and _is_letter(text[edge]) for edge in edges)


def _is_letter(character: str) -> bool:
    return character.isalnum() and not is_east_asian(character)

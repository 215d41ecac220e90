"""Occurrences of a word in running text, found as a string, and their vectors and nearest neighbours.

No segmenter decides what a word is: Chinese ones disagree, and a biLM of characters needs none.
"""

import re
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from spacy.tokens import Doc
from spacy.vocab import Vocab
from thinc.api import Model

from ..text import is_east_asian, normalize, sentence_spans

Segment = Callable[[str], list[str]]


@dataclass(frozen=True)
class Occurrence:
    """A place in a sentence."""

    sentence: str
    """Without white space around it."""
    start: int
    """Where it begins in the sentence."""
    end: int
    """Where it ends."""


@dataclass(frozen=True)
class Neighbour:
    """An occurrence, and how similar it is to the one that was asked for."""

    similarity: float
    """Cosine, from -1 to 1."""
    occurrence: Occurrence


def occurrences(text: str, word: str, *, fold_fullwidth: bool = True) -> Iterator[list[Occurrence]]:
    """Those of `word` in each sentence of `text` that has any, in order, without overlap.

    Any place counts where the string stands, also inside a longer Chinese word (行 in 自行车); but not inside
    a longer word of a script with spaces (AI in MAIL). fold_fullwidth: take full-width letters and digits
    for the ordinary ones.

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
    """All tokens of each sentence of `text`, but white space.

    segment: a sentence to its tokens, in order. fold_fullwidth: they come folded, see text.normalize.
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
    bilm: Model, sentences: Sequence[Sequence[Occurrence]], segment: Segment | None = None
) -> np.ndarray:
    """The layers of occurrences, one behind the other: (L, n, D) float32.

    Each is that of a token which is exactly the occurrence.
    bilm: a spacy-elmo.BiLM.v1. sentences: the occurrences of each sentence, ascending, without overlap.
    segment: for a biLM of words, what cuts the rest of a sentence; None for one of characters.
    """
    vocab = Vocab()  # a new one each time: it keeps every string that it has ever seen
    docs, places = [], []
    for found in sentences:
        words: list[str] = []
        own: list[int] = []
        at = 0
        for each in found:
            words += _rest(each.sentence[at : each.start], segment)
            own.append(len(words))
            words.append(each.sentence[each.start : each.end])
            at = each.end
        words += _rest(found[0].sentence[at:], segment) if found else []
        docs.append(Doc(vocab, words=words, spaces=[False] * len(words)))
        places.append(own)
    layers = bilm.predict(docs)  # (L, n_tokens, D) each
    return np.concatenate([all_[:, own] for all_, own in zip(layers, places, strict=True)], axis=1)


def select_layer(layers: np.ndarray, layer: int | None) -> np.ndarray:
    """(n, D) of one layer of (L, n, D), scaled to length 1, so that products are cosines. None: the mean."""
    chosen = layers.mean(axis=0) if layer is None else layers[layer]
    norms = np.linalg.norm(chosen, axis=1, keepdims=True)
    return chosen / np.where(norms > 0.0, norms, 1.0)


class TopK:
    """The n nearest occurrences of a stream; holds no more than these, and each sentence once.

    query: (D,) of length 1. n: how many. query_occurrence: where the query stands, which is no neighbour of
        its own.
    """

    def __init__(self, query: np.ndarray, n: int, query_occurrence: Occurrence):
        self.query = query
        self.n = n
        self.query_occurrence = query_occurrence
        self.compared = 0
        """Occurrences so far."""
        self.best: list[Neighbour] = []
        """The nearest first."""

    def add(self, found: Sequence[Occurrence], rows: np.ndarray) -> None:
        """Compare some occurrences. rows: (n, D), their vectors, of length 1."""
        for occurrence, cosine in zip(found, (rows @ self.query).tolist(), strict=True):
            if occurrence == self.query_occurrence:
                continue
            self.compared += 1
            if len(self.best) == self.n and cosine <= self.best[-1].similarity:
                continue
            # Texts repeat themselves; the same sentence again says nothing new.
            if any(known.occurrence == occurrence for known in self.best):
                continue
            insort(self.best, Neighbour(cosine, occurrence), key=lambda known: -known.similarity)
            del self.best[self.n :]


def _either_width(character: str) -> str:
    """A pattern for a letter or digit in its full-width and its ordinary form, as normalize() folds them."""
    narrow = normalize(character)
    wide = chr(ord(narrow) + 0xFEE0) if narrow.isascii() else narrow
    return f"[{narrow}{wide}]" if normalize(wide) == narrow != wide else re.escape(character)


def _rest(text: str, segment: Segment | None) -> list[str]:
    """The tokens of what lies between two occurrences."""
    if not text:
        return []
    return [text] if segment is None else segment(text)


def _splits_word(text: str, start: int, end: int) -> bool:
    """Whether an edge lies between two letters or digits of a script that has spaces."""
    edges = (edge for edge in (start, end) if 0 < edge < len(text))
    return any(_is_letter(text[edge - 1]) and _is_letter(text[edge]) for edge in edges)


def _is_letter(character: str) -> bool:
    return character.isalnum() and not is_east_asian(character)

"""Convert Docs to the inputs of the network: characters, windows, padded batches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ...text import normalize
from .network import N_MATCHES, UNKNOWN


class Window(NamedTuple):
    """A part of a passage that the network reads in one pass."""

    passage: int
    """Index of the passage in the batch."""
    start: int
    """Offset of its first character."""
    end: int
    """Offset after its last character."""


@dataclass
class Batch:
    """Passages, questions, and the pairs of them that are read together."""

    passages: list[Doc] = field(default_factory=list)
    """Docs of characters, see character_doc."""
    questions: list[Doc] = field(default_factory=list)
    """Docs of characters."""
    passage_texts: list[str] = field(default_factory=list)
    """Their texts, stored because doc.text is computed at each access."""
    question_texts: list[str] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    """Indices of a window and a question."""


def is_character_doc(doc: Doc) -> bool:
    """Return whether every character of a Doc, including white space, is a token."""
    return len(doc) == len(doc.text)


def character_doc(vocab: Vocab, text: str) -> Doc:
    """Return a Doc with each character of `text` as a token, so that token and character offsets agree."""
    return Doc(vocab, words=list(text), spaces=[False] * len(text))


def split_windows(length: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Split `length` characters into the fewest windows of at most `size`, at most `stride` apart.

    The windows are evenly spread; there are none for length 0.

    >>> split_windows(10, 6, 3)
    [(0, 6), (2, 8), (4, 10)]
    """
    if length <= size:
        return [(0, length)] if length else []
    steps = -(-(length - size) // stride)
    starts = [(length - size) * i // steps for i in range(steps + 1)]
    return [(start, start + size) for start in starts]


def fold(text: str) -> str:
    """Lower-case and fold full-width letters and digits, without changing the length."""
    lowered = [low if len(low := c.lower()) == 1 else c for c in normalize(text)]
    return "".join(lowered)


def pad_char_ids(texts: Sequence[str], char_rows: dict[str, int]) -> np.ndarray:
    """Return the character ids of folded texts, (B, T) int64."""
    ids = np.zeros((len(texts), max(map(len, texts))), dtype=np.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = [char_rows.get(c, UNKNOWN) for c in text]
    return ids


@lru_cache(maxsize=2)
def char_rows_of(characters: str) -> dict[str, int]:
    """Return the rows of the character embedding."""
    return {c: UNKNOWN + 1 + i for i, c in enumerate(characters)}


def pad_vectors(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Pad arrays (n, D) to (B, T, D) float32."""
    out = np.zeros((len(arrays), max(map(len, arrays)), arrays[0].shape[1]), dtype=np.float32)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out


def match_features(passage: str, question: str) -> np.ndarray:
    """Return exact matches of a folded passage with a folded question, (n, N_MATCHES) float32.

    The columns say whether the question contains the character, the two characters that end here, and the two
    that begin here. This is DrQA's feature (Chen et al. 2017), for characters.
    """
    matches = np.zeros((len(passage), N_MATCHES), dtype=np.float32)
    characters = set(question) - {" ", "\n"}
    bigrams = {a + b for a, b in pairwise(question)}
    matches[:, 0] = [c in characters for c in passage]
    both = np.array([passage[i : i + 2] in bigrams for i in range(len(passage) - 1)], dtype=np.float32)
    matches[1:, 1] = both
    matches[:-1, 2] = both
    return matches


def frequent_characters(texts: Iterable[str], min_count: int) -> str:
    """Return the characters that occur at least `min_count` times, by code point, without white space."""
    counts: dict[str, int] = {}
    for text in texts:
        for character in fold(text):
            counts[character] = counts.get(character, 0) + 1
    return "".join(sorted(c for c, n in counts.items() if n >= min_count and not c.isspace()))

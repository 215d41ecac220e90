"""Map units to ids: the vocabulary of words or characters, with characters or n-grams for some models."""

from collections.abc import Iterable, Sequence

import numpy as np

from ..errors import ElmoError
from ..text import normalize
from .ngram_index import NgramIndex
from .traditional import missing_forms

# Rows of the embedding table for special tokens.
PAD, UNK, BOS, EOS = range(4)
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")

# Special characters: BOW and EOW enclose a word; a sentence boundary is one character.
CHAR_PAD, CHAR_UNK, BOW, EOW, CHAR_BOS, CHAR_EOS = range(6)
CHAR_SPECIALS = ("<pad>", "<unk>", "<w>", "</w>", "<s>", "</s>")
N_BYTES = 256


class Vocab:
    """Units in descending order of frequency, after four special tokens.

    Args:
        units: Distinct units without line breaks, none of them a special token.
        characters: Distinct characters for a char-CNN; empty for models without one.
        fold_fullwidth: Fold full-width forms before the lookup.
        simplified: Give traditional characters that are not units the rows of their simplified forms.
        uses_bytes: The char-CNN reads the 256 bytes of UTF-8, which need no list.
        max_length: Truncate units to this many characters before the lookup; None: do not.
        ngrams: Distinct strings of 2 to `max_ngram_length` units that are characters.
        max_ngram_length: Units of the longest n-gram.
        static: Distinct strings with a static vector, see modeling.static_vectors.

    Raises:
        ElmoError: A list holds a string twice or with a line break, or an n-gram is not valid.
    """

    def __init__(
        self,
        units: Sequence[str],
        characters: Sequence[str] = (),
        *,
        fold_fullwidth: bool = True,
        simplified: bool = False,
        uses_bytes: bool = False,
        max_length: int | None = None,
        ngrams: Sequence[str] = (),
        max_ngram_length: int = 3,
        static: Sequence[str] = (),
    ):
        self.max_length = max_length
        self.uses_bytes = uses_bytes
        self.units = list(units)
        self.characters = list(characters)
        self.fold_fullwidth = fold_fullwidth
        self._ids = {unit: i for i, unit in enumerate(self.units, len(SPECIALS))}
        self._char_ids = {c: i for i, c in enumerate(self.characters, len(CHAR_SPECIALS))}
        if len(self._ids) != len(self.units) or len(self._char_ids) != len(self.characters):
            raise ElmoError("The vocabulary lists a unit twice: list each once.")
        if any("\n" in unit for unit in self._ids | self._char_ids):  # they are saved one to a line
            raise ElmoError("A unit of the vocabulary holds a line break: leave it out.")
        self.static = list(static)
        if len(set(self.static)) != len(self.static) or any("\n" in string for string in self.static):
            raise ElmoError("The static vectors list a string twice or with a line break: list each once.")
        self.ngrams = list(ngrams)
        self.max_ngram_length = max_ngram_length
        self._ngrams = NgramIndex(self.ngrams, max_ngram_length, self._ids, len(self))
        if simplified:
            self._ids |= {old: self._ids[new] for old, new in missing_forms(self._ids).items()}

    def __len__(self) -> int:
        """Return V, the number of units and special tokens."""
        return len(SPECIALS) + len(self.units)

    @property
    def n_characters(self) -> int:
        """Rows of the character table, special characters included."""
        return len(CHAR_SPECIALS) + (N_BYTES if self.uses_bytes else len(self.characters))

    def __contains__(self, unit: str) -> bool:
        return self.id(unit) != UNK

    def id(self, unit: str) -> int:
        """Return the row of `unit`, UNK if it is not in the vocabulary."""
        return self._ids.get(self._normalize(unit), UNK)

    def ids(self, units: Iterable[str]) -> np.ndarray:
        """Return the rows of a sentence's units, with BOS before and EOS after them: (n + 2,) int64."""
        if self.fold_fullwidth or self.max_length:
            units = map(self._normalize, units)
        get = self._ids.get
        return np.array([BOS, *(get(unit, UNK) for unit in units), EOS], dtype=np.int64)

    def ngram_rows(self, ids: np.ndarray) -> np.ndarray:
        """Return the rows of the n-grams that end at each unit of sentences; see NgramIndex.match_endings."""
        return self._ngrams.match_endings(ids)

    def character_ids(self, units: Sequence[str], max_characters_per_token: int) -> np.ndarray:
        """Return the characters of units: (n, max_characters_per_token + 2) int64.

        A row is BOW, characters, EOW and padding. A longer unit is truncated; its last character may lose
        some of its bytes.
        """
        rows = [
            [BOW, *self._encode_characters(self._normalize(unit), max_characters_per_token), EOW]
            for unit in units
        ]
        return _padded(rows, max_characters_per_token + 2)

    def _normalize(self, unit: str) -> str:
        return (normalize(unit) if self.fold_fullwidth else unit)[: self.max_length]

    def _encode_characters(self, text: str, limit: int) -> list[int]:
        if self.uses_bytes:
            return [len(CHAR_SPECIALS) + byte for byte in text.encode("utf8", "ignore")[:limit]]
        return [self._char_ids.get(character, CHAR_UNK) for character in text[:limit]]


def special_character_ids(max_characters_per_token: int) -> np.ndarray:
    """Return the characters of the four special tokens: (4, max_characters_per_token + 2) int64.

    A sentence boundary is a word of one special character (Peters et al. 2018; Jozefowicz et al. 2016,
    section 3.3). Rows are in the order of SPECIALS.
    """
    rows = [[], [BOW, CHAR_UNK, EOW], [BOW, CHAR_BOS, EOW], [BOW, CHAR_EOS, EOW]]
    return _padded(rows, max_characters_per_token + 2)


def _padded(rows: Sequence[Sequence[int]], width: int) -> np.ndarray:
    out = np.full((len(rows), width), CHAR_PAD, dtype=np.int64)
    for target, row in zip(out, rows, strict=True):
        target[: len(row)] = row
    return out

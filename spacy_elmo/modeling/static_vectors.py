"""Look up static vectors: vectors of tokens that do not depend on the context. Pure NumPy.

A biLM of characters learns a word from the contexts in which it reads the word's characters, so it learns
little about rare words. Counting the units next to an n-gram (pretraining.init.cooccurrence) gives better
vectors of it than hours of training. A component gets them in addition to the mixed layers, as word
embeddings are commonly concatenated with ELMo (Peters et al. 2018, section 3.3).
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from ..text import normalize
from .traditional import missing_forms
from .vector_cache import VectorCache

EPSILON = 1e-6
CACHE_BYTES = 8 * 2**20
FIRST_ROWS = 256


class StaticVectors:
    """Vectors of any tokens, from a table of characters and n-grams, or of words.

    Args:
        strings: Distinct strings, one for each row of `table`.
        table: (rows, S), floats or int8. The norm of a row has no effect.
        fold_fullwidth: Fold full-width letters and digits before the lookup.
        simplified: Read traditional characters without a row as their simplified forms.
        allow_single_letters: Allow a single cased letter as a part of a token. In a table of words, a letter
            is a word or an initial, and says nothing about a longer word.
        budget: Bytes of token vectors to cache (VectorCache).
    """

    def __init__(
        self,
        strings: Sequence[str],
        table: np.ndarray,
        *,
        fold_fullwidth: bool = True,
        simplified: bool = False,
        allow_single_letters: bool = True,
        budget: int = CACHE_BYTES,
    ):
        self._rows = {string: row for row, string in enumerate(strings)}
        self._table = table
        self._longest = max(map(len, strings), default=0)
        self._normalized = fold_fullwidth
        self._forms = str.maketrans(missing_forms(self._rows) if simplified else {})
        self._allow_single_letters = allow_single_letters
        self.cache = VectorCache(
            np.empty((0, table.shape[1]), dtype=np.float32), budget=budget, initial_capacity=FIRST_ROWS
        )

    def look_up(
        self, tokens: Sequence[Hashable], to_string: Callable[[Any], str] | None = None
    ) -> np.ndarray:
        """Return the vectors of tokens, (n, S) float32; see BiLM.static_vectors_of.

        A token has its own row, or else the mean of the rows of its parts. Parts are the longest listed
        strings, matched from the end of the token, where the head of a Chinese word is. Vectors are scaled to
        root mean square 1. Tokens without a known character (white space) get zeros.
        """

        def compute(keys: list[Any]) -> np.ndarray:
            return self._compute(keys if to_string is None else [to_string(key) for key in keys])

        return self.cache.get_many(tokens, compute)

    def _compute(self, tokens: list[str]) -> np.ndarray:
        rows = [self._rows.get(token, -1) for token in tokens]
        out = self._vectors(rows)  # the row of -1 is arbitrary and replaced below
        for i, row in enumerate(rows):
            if row < 0:
                out[i] = self._from_subwords(tokens[i])
        return out

    def _from_subwords(self, token: str) -> np.ndarray:
        token = normalize(token) if self._normalized else token
        parts = self._vectors(self._pieces(token.translate(self._forms)))
        # A single part gives the bits of its own row, which a second normalisation would round again.
        vectors = parts if len(parts) == 1 else normalize_rms(parts.sum(0, keepdims=True))  # (1, S)
        vector: np.ndarray = vectors[0]
        return vector

    def _vectors(self, rows: list[int]) -> np.ndarray:
        # Normalised at lookup, not once for all rows: the table is mapped, and most of it is never read.
        return normalize_rms(self._table[np.array(rows, dtype=np.int64)].astype(np.float32, copy=False))

    def _pieces(self, token: str) -> list[int]:
        rows, end = [], len(token)
        while end:
            for begin in range(max(0, end - self._longest), end):
                row = self._rows.get(token[begin:end])
                if row is not None and (
                    self._allow_single_letters or end - begin > 1 or not _is_cased(token[begin])
                ):
                    rows.append(row)
                    end = begin
                    break
            else:
                end -= 1
        return rows


def _is_cased(character: str) -> bool:
    return character.lower() != character.upper()


def normalize_rms(vectors: np.ndarray) -> np.ndarray:
    """Scale each row of (n, S) to root mean square 1. Zeros stay zeros."""
    size = np.sqrt(np.square(vectors).mean(-1, keepdims=True))
    scale = np.where(size > EPSILON, 1 / np.maximum(size, EPSILON), 0).astype(np.float32)
    return (vectors * scale).astype(np.float32)

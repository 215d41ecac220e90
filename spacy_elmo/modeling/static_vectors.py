"""Static vectors: what a token is by itself, whatever stands around it. Pure numpy.

A biLM of characters knows a word from the contexts in which it has read its characters in that order, and so
little of rare words. Counting what stands beside an n-gram (pretraining.init.cooccurrence) tells more of it
than hours of training do; a task gets that beside the mixed layers, as embeddings of words are commonly
concatenated with ELMo (Peters et al. 2018, section 3.3).
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
    """Vectors of tokens of any segmenter from a table of characters and n-grams, or of words.

    strings: distinct, one for each row of `table` (rows, S), of floats or int8; a row's size does not matter.
    fold_fullwidth: fold full-width letters and digits before a token is looked up.
    simplified: read traditional characters that have no row as their simplified forms.
    allow_single_letters: whether a single cased letter may be a piece of a token. Among words it is a word or
        an initial, and says nothing of the word that it stands in.
    budget: bytes of vectors of tokens that are kept (VectorCache).
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
        """(n, S) float32; see BiLM.static_vectors_of. A token has its own row, or else the mean of those of
        its pieces, scaled to root mean square 1 as all rows are; zeros where no character of it is known
        (white space).

        Pieces are the longest listed strings from the end of the token on, where a Chinese word's head is.
        """

        def compute(keys: list) -> np.ndarray:
            return self._compute(keys if to_string is None else [to_string(key) for key in keys])

        return self.cache.get_many(tokens, compute)

    def _compute(self, tokens: list[str]) -> np.ndarray:
        rows = [self._rows.get(token, -1) for token in tokens]
        out = self._vectors(rows)  # -1 takes any row, which is replaced
        for i, row in enumerate(rows):
            if row < 0:
                out[i] = self._from_subwords(tokens[i])
        return out

    def _from_subwords(self, token: str) -> np.ndarray:
        token = normalize(token) if self._normalized else token
        rows = self._pieces(token.translate(self._forms))
        return normalize_rms(self._vectors(rows).sum(0, keepdims=True))[0]

    def _vectors(self, rows: list[int]) -> np.ndarray:
        # Not of all rows beforehand: the table is mapped, and most of it is never read.
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
    """(n, S) each scaled to root mean square 1; zeros stay zeros."""
    size = np.sqrt(np.square(vectors).mean(-1, keepdims=True))
    scale = np.where(size > EPSILON, 1 / np.maximum(size, EPSILON), 0).astype(np.float32)
    return (vectors * scale).astype(np.float32)

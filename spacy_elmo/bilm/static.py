"""Static vectors: what a token is by itself, whatever stands around it. Pure numpy.

A biLM of characters knows a word from the contexts in which it has read its characters in that order, and so
little of rare words. Counting what stands beside an n-gram (pretraining.neighbours) tells more of it than
hours of training do; a task gets that beside the mixed layers, as embeddings of words are commonly
concatenated with ELMo (Peters et al. 2018, section 3.3).
"""

from collections.abc import Sequence

import numpy as np

from .text import normalize

EPSILON = 1e-6


class StaticVectors:
    """Vectors of tokens of any segmenter from a table of characters and n-grams, or of words.

    strings: distinct, one for each row of `table` (rows, S), of floats or int8; a row's size does not matter.
    normalized: fold full-width letters and digits before a token is looked up.
    letters: whether a single cased letter may be a piece of a token. Among words it is a word or an initial,
        and says nothing of the word that it stands in.
    """

    def __init__(
        self, strings: Sequence[str], table: np.ndarray, *, normalized: bool = True, letters: bool = True
    ):
        self._rows = {string: row for row, string in enumerate(strings)}
        self._table = table
        self._scale = np.full((len(table), 1), np.nan, dtype=np.float32)  # of rows that were looked up
        self._longest = max(map(len, strings), default=0)
        self._normalized = normalized
        self._letters = letters

    def look_up(self, tokens: Sequence[str]) -> np.ndarray:
        """(n, S) float32. A token has its own row, or else the mean of the rows of its pieces, scaled to root
        mean square 1 as all rows are; zeros where no character of it is known (white space).

        Pieces are the longest listed strings from the end of the token on, where a Chinese word's head is.
        """
        get = self._rows.get
        rows = np.array([get(token, -1) for token in tokens], dtype=np.int64)
        out = self._vectors(rows)  # -1 takes any row, which is replaced
        for i in np.flatnonzero(rows < 0).tolist():
            out[i] = self._composed(tokens[i])
        return out

    def _composed(self, token: str) -> np.ndarray:
        rows = self._pieces(normalize(token) if self._normalized else token)
        return unit_size(self._vectors(np.array(rows, dtype=np.int64)).sum(0, keepdims=True))[0]

    def _vectors(self, rows: np.ndarray) -> np.ndarray:
        out = self._table[rows].astype(np.float32, copy=False)  # a copy already, by the rows
        scale = self._scale[rows]
        if np.isnan(scale).any():
            # Not of all rows beforehand: the table is mapped, and most of it is never read.
            self._scale[rows] = scale = _scales(out)
        out *= scale
        return out

    def _pieces(self, token: str) -> list[int]:
        rows, end = [], len(token)
        while end:
            for begin in range(max(0, end - self._longest), end):
                row = self._rows.get(token[begin:end])
                if row is not None and (self._letters or end - begin > 1 or not _is_cased(token[begin])):
                    rows.append(row)
                    end = begin
                    break
            else:
                end -= 1
        return rows


def _is_cased(character: str) -> bool:
    return character.lower() != character.upper()


def _scales(vectors: np.ndarray) -> np.ndarray:
    """(n, 1) float32: what gives each row root mean square 1, 0 for zeros."""
    size = np.sqrt(np.square(vectors).mean(-1, keepdims=True))
    return np.where(size > EPSILON, 1 / np.maximum(size, EPSILON), 0).astype(np.float32)


def unit_size(vectors: np.ndarray) -> np.ndarray:
    """(n, S) each scaled to root mean square 1; zeros stay zeros."""
    return (vectors * _scales(vectors)).astype(np.float32)

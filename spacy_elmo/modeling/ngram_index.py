"""Find the n-grams that have an embedding of their own in sentences of ids."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import ElmoError


class NgramIndex:
    """Index of n-grams of 2 to `max_length` units; row 0 stands for "none".

    Args:
        ngrams: Distinct strings whose characters are units.
        max_length: Largest number of units.
        ids: Row of each unit in the embedding table.
        size: V, rows of that table.

    Raises:
        ElmoError: An n-gram is listed twice, has another length, or contains an unknown unit.
    """

    def __init__(self, ngrams: Sequence[str], max_length: int, ids: Mapping[str, int], size: int):
        if ngrams and size**max_length >= 2**63:  # keys are int64
            raise ElmoError(f"{size:,} units are too many for n-grams of {max_length}: use shorter n-grams.")
        found: dict[int, dict[int, int]] = {n: {} for n in range(2, max_length + 1)}  # key -> row
        for row, ngram in enumerate(ngrams, 1):
            if len(ngram) not in found or not all(unit in ids for unit in ngram):
                raise ElmoError(f"{ngram!r} is not an n-gram of 2 to {max_length} units of the vocabulary.")
            key = 0
            for unit in ngram:
                key = key * size + ids[unit]
            if found[len(ngram)].setdefault(key, row) != row:
                raise ElmoError(f"The vocabulary lists the n-gram {ngram!r} twice: list each once.")
        self._size = size
        self._tables = [_sorted(found[n]) for n in range(2, max_length + 1)]

    def match_endings(self, units: np.ndarray) -> np.ndarray:
        """Return the rows of n-grams that end at each unit: (B, T) ids -> (B, T, max_length - 1) int64.

        [..., k] is for n-grams of k + 2 units, 0 for none. N-grams contain no special tokens, so none crosses
        a sentence boundary.
        """
        rows = np.zeros((*units.shape, len(self._tables)), dtype=np.int64)
        keys = units.astype(np.int64)
        for k, (known, its_row) in enumerate(self._tables):
            before = np.zeros_like(
                keys
            )  # 0, a special token, for n-grams that would begin before the sentence
            before[:, 1:] = keys[:, :-1]
            keys = before * self._size + units
            # The last key is a sentinel above all others.
            positions = np.searchsorted(known, keys)
            rows[..., k] = np.where(known[positions] == keys, its_row[positions], 0)
        return rows


def _sorted(table: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys in ascending order and their rows, with a sentinel key at the end."""
    pairs = [*sorted(table.items()), (2**63 - 1, 0)]
    keys, rows = np.array(pairs, dtype=np.int64).T.copy()
    return keys, rows

"""Vectors of strings, or of what stands for them, each computed once and kept, up to a budget of bytes; when
it is spent, all start anew.

Words follow Zipf's law: after some thousand sentences nine of ten tokens are there, and after a new start
soon again.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..locks import ForkSafeLock


class VectorCache:
    """Safe for threads: rows that were handed out stay as they are.

    pinned_rows: (n, D) float32, rows that are always there, before all strings. budget: bytes of the vectors
    of strings; a call with more than that still gets all of them. initial_capacity: rows to begin with.
    """

    def __init__(self, pinned_rows: np.ndarray, *, budget: int, initial_capacity: int):
        self.limit = max(1, budget // (4 * max(1, pinned_rows.shape[1])))
        self._pinned_rows, self._initial_capacity = pinned_rows, initial_capacity
        self._lock = ForkSafeLock()
        self._reset()

    def __len__(self) -> int:
        return len(self._index)

    def table_and_index(
        self, strings: Iterable[Any], compute: Callable[[list], np.ndarray]
    ) -> tuple[np.ndarray, dict[Any, int]]:
        """A table (rows, D) float32, and the row of each of `strings` in it.

        compute: vectors (n, D) of strings that are not there yet.
        """
        wanted = set(strings)
        with self._lock:
            missing = wanted.difference(self._index)
            if missing and len(self._index) + len(missing) > self.limit:
                self._reset()
                missing = wanted
            if missing:
                self._add(sorted(missing), compute)
            return self._table, self._index

    def get_many(self, strings: Sequence[Any], compute: Callable[[list], np.ndarray]) -> np.ndarray:
        """The vectors of `strings`, (n, D): mostly all of them are there."""
        with self._lock:
            table = self._table
            try:
                return table.take(list(map(self._index.__getitem__, strings)), axis=0)
            except KeyError:
                pass
        table, index = self.table_and_index(strings, compute)
        return table.take([index[string] for string in strings], axis=0)

    def clear(self) -> None:
        """Start anew at once."""
        with self._lock:
            self._reset()

    def _reset(self) -> None:
        # New ones: who was given the old table and its rows goes on with them.
        self._index: dict[Any, int] = {}
        self._table = self._pinned_rows

    def _add(self, strings: list, compute: Callable[[list], np.ndarray]) -> None:
        used = len(self._pinned_rows) + len(self._index)
        needed = used + len(strings)
        fresh = compute(strings)
        if needed > len(self._table):
            most = len(self._pinned_rows) + self.limit
            rows = max(needed, min(most, max(self._initial_capacity, 2 * needed)))
            grown = np.empty((rows, fresh.shape[1]), dtype=np.float32)
            grown[:used] = self._table[:used]
            self._table = grown
        self._table[used:needed] = fresh
        self._index.update(zip(strings, range(used, needed), strict=True))

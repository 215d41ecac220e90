"""Cache vectors by hashable keys up to a byte budget. When it is exceeded, the whole cache is cleared.

Words follow Zipf's law: after some thousand sentences the cache holds nine of ten tokens, and it does so
again soon after it is cleared.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..locks import ForkSafeLock


class VectorCache:
    """Thread-safe cache of vectors: rows that were returned never change.

    Args:
        pinned_rows: (n, D) float32, rows that are always there, before all others.
        budget: Bytes of the other vectors. A call that needs more still gets all of them.
        initial_capacity: Rows to allocate at first.
    """

    def __init__(self, pinned_rows: np.ndarray, *, budget: int, initial_capacity: int):
        self.limit = max(1, budget // (4 * max(1, pinned_rows.shape[1])))
        self._pinned_rows, self._initial_capacity = pinned_rows, initial_capacity
        self._lock = ForkSafeLock()
        self._reset()

    def __len__(self) -> int:
        return len(self._index)

    def table_and_index(
        self, strings: Iterable[Any], compute: Callable[[list[Any]], np.ndarray]
    ) -> tuple[np.ndarray, dict[Any, int]]:
        """Return a table (rows, D) float32, and the row of each string in it.

        compute: computes the vectors (n, D) of strings that are not cached.
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

    def get_many(self, strings: Sequence[Any], compute: Callable[[list[Any]], np.ndarray]) -> np.ndarray:
        """Return the vectors of `strings`, (n, D). Usually all of them are cached."""
        with self._lock:
            table = self._table
            try:
                return table.take(list(map(self._index.__getitem__, strings)), axis=0)
            except KeyError:
                pass
        table, index = self.table_and_index(strings, compute)
        return table.take([index[string] for string in strings], axis=0)

    def clear(self) -> None:
        """Clear the cache."""
        with self._lock:
            self._reset()

    def _reset(self) -> None:
        # New objects: callers may still use the old table and its rows.
        self._index: dict[Any, int] = {}
        self._table = self._pinned_rows

    def _add(self, strings: list[Any], compute: Callable[[list[Any]], np.ndarray]) -> None:
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

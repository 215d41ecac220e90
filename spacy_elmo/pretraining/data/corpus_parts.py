"""Encode parts of a corpus: blocks of text as unit ids of their own, with unit counts.

Parts are independent of each other, so they can be made in any order, on any machine. Their units are stored
in 64 buckets by hash, so that the units of all parts are counted bucket by bucket, in constant memory.
"""

import heapq
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ...progress import track

HASH_BUCKETS = 64
MAX_TYPES_IN_MEMORY = 2**21  # units of all parts to count at a time

TypeCount = tuple[int, int, int, bytes]
"""A distinct unit: -count, part and index of its first occurrence, UTF-8. Sorts by frequency."""


def encode_part(sentences: Iterable[Sequence[str]]) -> bytes:
    """Encode sentences of units as a safetensors file.

    ids: (n,) int32, numbered in the order of appearance. lengths: (sentences,) int32. In the order of the
    buckets: units (UTF-8, one per line), places and counts (one number each). groups and group_bytes: (65,),
    where the buckets begin.
    """
    index: defaultdict[str, int] = defaultdict()
    index.default_factory = index.__len__
    ids, lengths = array("i"), array("i")
    for sentence in sentences:
        lengths.append(len(sentence))
        ids.extend(map(index.__getitem__, sentence))
    lines = [f"{unit}\n".encode() for unit in index]
    group = np.array([zlib.crc32(line) % HASH_BUCKETS for line in lines], dtype=np.int64)
    order = np.argsort(group, kind="stable")
    sizes = np.array([len(line) for line in lines], dtype=np.int64)
    groups = np.searchsorted(group[order], np.arange(HASH_BUCKETS + 1))
    flat = np.array(ids, dtype=np.int32)
    return save(
        {
            "ids": flat,
            "lengths": np.array(lengths, dtype=np.int32),
            "units": np.frombuffer(b"".join(lines[i] for i in order), dtype=np.uint8),
            "places": order.astype(np.int32),
            "counts": np.bincount(flat, minlength=len(lines))[order],
            "groups": groups,
            "group_bytes": np.concatenate([[0], np.cumsum(sizes[order])])[groups],
        }
    )


class CorpusPart:
    """A part on disk."""

    def __init__(self, path: Path):
        self._file = safe_open(path, framework="numpy")
        self._groups, self._bytes = (self._file.get_tensor(name) for name in ("groups", "group_bytes"))
        self.types = int(self._groups[-1])

    def ids(self) -> np.ndarray:
        """Return the ids, (n,) int32."""
        ids: np.ndarray = self._file.get_tensor("ids")
        return ids

    def lengths(self) -> np.ndarray:
        """Return the lengths of the sentences, (sentences,) int32."""
        lengths: np.ndarray = self._file.get_tensor("lengths")
        return lengths

    def units(self, first: int = 0, last: int = HASH_BUCKETS) -> Iterator[tuple[bytes, int, int]]:
        """Yield (unit, index, count) of the buckets from `first` to before `last`."""
        a, b = (int(self._groups[i]) for i in (first, last))
        if a == b:
            return iter(())
        text = self._file.get_slice("units")[int(self._bytes[first]) : int(self._bytes[last])].tobytes()
        places, counts = (self._file.get_slice(name)[a:b].tolist() for name in ("places", "counts"))
        return zip(text.split(b"\n")[:-1], places, counts, strict=True)


def is_part(path: Path) -> bool:
    """Return whether a file exists and is a whole part, by its header and its size."""
    try:
        CorpusPart(path)
    except (OSError, SafetensorError):
        return False
    return True


def merge_counts(paths: Sequence[Path], *, min_count: int, max_vocab: int) -> tuple[list[TypeCount], int]:
    """Return the most frequent units of all parts, and the number of distinct ones.

    The units occur at least `min_count` times. There are at most `max_vocab`, most frequent first; of equally
    frequent ones, the one that appeared first comes first.
    """
    total = sum(CorpusPart(path).types for path in paths)
    step = max(1, HASH_BUCKETS * MAX_TYPES_IN_MEMORY // max(total, MAX_TYPES_IN_MEMORY))
    frequent: list[TypeCount] = []
    distinct = 0
    for first in track(range(0, HASH_BUCKETS, step), "counts"):
        found: dict[bytes, list[int]] = {}
        for number, path in enumerate(paths):
            for unit, index, count in CorpusPart(path).units(first, min(first + step, HASH_BUCKETS)):
                if (entry := found.get(unit)) is None:
                    found[unit] = [count, number, index]
                else:
                    entry[0] += count
        distinct += len(found)
        frequent += [
            (-n, number, index, unit) for unit, (n, number, index) in found.items() if n >= min_count
        ]
        if len(frequent) > 2 * max_vocab:
            frequent = heapq.nsmallest(max_vocab, frequent)
    return sorted(frequent)[:max_vocab], distinct

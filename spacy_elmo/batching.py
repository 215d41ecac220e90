"""Group items by size: what is computed together."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def minibatch_by_size(items: Sequence[Item], most: int, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Items in a row, together of size `most` at most; a larger one is a batch of its own."""
    batch: list[Item] = []
    taken = 0
    for item in items:
        n = size(item)
        if batch and taken + n > most:
            yield batch
            batch, taken = [], 0
        batch.append(item)
        taken += n
    if batch:
        yield batch


def length_buckets(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of sentences in groups of at most `batch_tokens` units, padding and boundaries included.

    Sorted by length, so that little is padded; empty sentences are left out; a sentence longer than
    the budget is a group of its own.
    """
    group: list[int] = []
    for i in sorted((i for i, n in enumerate(lengths) if n), key=lambda i: -lengths[i]):
        longest = lengths[group[0]] if group else lengths[i]
        if group and (len(group) + 1) * (longest + 2) > batch_tokens:
            yield group
            group = []
        group.append(i)
    if group:
        yield group

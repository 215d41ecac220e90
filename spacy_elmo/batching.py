"""Group items by size for batched computation."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def minibatch_by_size(items: Sequence[Item], most: int, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield consecutive items in batches of total size at most `most`. A larger item is its own batch."""
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
    """Yield the indices of sentences in batches of at most `batch_tokens` units.

    Padding and boundaries count. Sentences are sorted by length, so that little is padded. Empty sentences
    are skipped. A sentence longer than the budget is its own batch.
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

"""Group items by size into batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def minibatch_by_size(
    items: Iterable[Item], max_size: int, size: Callable[[Item], int], *, padded: bool = False
) -> Iterator[list[Item]]:
    """Group consecutive items, each group as long as its size is at most `max_size`.

    The size of a group is the sum of its items' sizes; padded: their number times the largest. A larger
    item is a group of its own.
    """
    batch: list[Item] = []
    total = largest = 0
    for item in items:
        n = size(item)
        total, largest = total + n, max(largest, n)
        if batch and (largest * (len(batch) + 1) if padded else total) > max_size:
            yield batch
            batch, total, largest = [], n, n
        batch.append(item)
    if batch:
        yield batch


def length_buckets(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Group the indices of sentences in batches of at most `batch_tokens` units.

    Padding and boundaries are included. The longest come first, so that little is padded; empty sentences
    are left out; a sentence longer than `batch_tokens` is a batch of its own.
    """
    longest_first = sorted((i for i, n in enumerate(lengths) if n), key=lambda i: -lengths[i])
    return minibatch_by_size(longest_first, batch_tokens, lambda i: lengths[i] + 2, padded=True)

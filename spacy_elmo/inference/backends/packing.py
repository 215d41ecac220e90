"""Pack the sentences of a batch as steps without padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedBatch:
    """A batch without padding: step t has the sentences that are not finished. N units in all.

    The output at the final boundary is never used, so that step is skipped.

    Attributes:
        batch_sizes: Sentences of each step, descending.
        forward: (N,), index of the unit at each step and sentence, in the concatenated sentences, read from
            the left.
        backward: (N,), the same, read from the right.
    """

    batch_sizes: list[int]
    forward: Tensor
    backward: Tensor


def pack_sequences(lengths: Sequence[int]) -> PackedBatch:
    """Return the steps of sentences with these lengths, which include boundaries and descend to 2 or more."""
    n = np.asarray(lengths, dtype=np.int64)
    starts = np.cumsum(n) - n
    step, row = np.nonzero(np.arange(n[0] - 1)[:, None] < n[None] - 1)
    batch_sizes = np.bincount(step).tolist()
    ahead, back = starts[row] + step, starts[row] + n[row] - 1 - step
    return PackedBatch(batch_sizes, torch.from_numpy(ahead), torch.from_numpy(back))

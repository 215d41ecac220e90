"""Sentences of a batch as steps without padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedBatch:
    """A batch without padding: at step t, the sentences that are not through. N units in all.

    Nobody reads what comes of a sentence's last boundary, so there is no step for it.
    batch_sizes: sentences of each step, descending.
    forward, backward: (N,) the unit of each step and sentence, step by step, as its place in the
    sentences one after another; read from the left and from the right.
    """

    batch_sizes: list[int]
    forward: Tensor
    backward: Tensor


def pack_sequences(lengths: Sequence[int]) -> PackedBatch:
    """The steps of sentences of these lengths, with both boundaries; they descend and are 2 at least."""
    n = np.asarray(lengths, dtype=np.int64)
    starts = np.cumsum(n) - n
    step, row = np.nonzero(np.arange(n[0] - 1)[:, None] < n[None] - 1)
    batch_sizes = np.bincount(step).tolist()
    ahead, back = starts[row] + step, starts[row] + n[row] - 1 - step
    return PackedBatch(batch_sizes, torch.from_numpy(ahead), torch.from_numpy(back))

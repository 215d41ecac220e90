"""What every backend reads of a biLM: the weights of its LSTMs, and how sentences are packed into steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..lstm import LSTMStack


@dataclass(frozen=True)
class LSTMWeights:
    """One LSTM layer of one direction, float32. Gates in torch's order: i, f, g, o.

    w_ih: (4H, P); w_hh: (4H, P); bias: (4H,), of both products; w_hr: (P, H), None: no projection, P = H.
    """

    w_ih: Tensor
    w_hh: Tensor
    bias: Tensor
    w_hr: Tensor | None

    @property
    def hidden(self) -> int:
        """H."""
        return self.w_ih.shape[0] // 4

    @property
    def projection(self) -> int:
        """P."""
        return self.w_hh.shape[1]


@dataclass(frozen=True)
class LSTMOptions:
    """What is done beside the products: see bilm.lstm.LSTMStack."""

    skip: bool
    cell_clip: float | None
    proj_clip: float | None


def lstm_weights(direction: LSTMStack) -> list[LSTMWeights]:
    """The layers of a direction, from below."""
    cells = []
    for layer in direction.layers:
        weights = {name: p.detach().float() for name, p in layer.named_parameters()}
        bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
        cells.append(
            LSTMWeights(weights["weight_ih_l0"], weights["weight_hh_l0"], bias, weights.get("weight_hr_l0"))
        )
    return cells


def lstm_options(direction: LSTMStack) -> LSTMOptions:
    """Skip connection and clips of a direction."""
    return LSTMOptions(direction.skip, direction.cell_clip, direction.proj_clip)


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

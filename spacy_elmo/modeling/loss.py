"""The two language-model losses: what pretraining lowers and what perplexity is computed from."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from .cross_entropy import IGNORE_INDEX, ChunkedCrossEntropy
from .lstm import Dropout, LSTMStack, reverse_padded
from .network import BiLMNetwork
from .token_encoder import TokenBatch
from .vocab import PAD

Leaves = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class LMLoss:
    """Negative log-likelihood (natural logarithm) of some sentences, in each direction.

    nll: (2,), forward and backward over all predictions; with a sampled softmax they are no likelihoods.
        It is where it was computed, and to read it is to wait for a GPU.
    n_targets: predictions in one direction; each sentence has one more than it has units, because the
        boundary behind it is predicted too (`</s>` forward, `<s>` backward).
    """

    nll: Tensor
    n_targets: int

    @property
    def forward(self) -> float:
        """Sum of the forward direction."""
        return float(self.nll[0])

    @property
    def backward(self) -> float:
        """Sum of the backward direction."""
        return float(self.nll[1])

    @property
    def mean(self) -> float:
        """Mean over both directions and all predictions, what training lowers (section 3.1)."""
        return (self.forward + self.backward) / (2 * self.n_targets)


def lm_loss(bilm: BiLMNetwork, batch: TokenBatch) -> LMLoss:
    """Both directions' losses on a batch, with the full softmax and without gradients."""
    with torch.no_grad():
        # Detached: ChunkedCrossEntropy would compute their gradients otherwise, no_grad or not.
        weight, bias = bilm.softmax_weight.detach(), bilm.softmax_bias.detach()
        losses = []
        sides = direction_inputs(bilm, batch, *bilm.token_encoder(batch), static_shapes=False)
        for side in sides:
            x = side.predict({})
            losses.append(ChunkedCrossEntropy.apply(x, weight, bias, side.targets, None))
    return LMLoss(torch.stack(losses), len(sides[0].targets))


@dataclass(frozen=True)
class DirectionInputs:
    """One direction, and what it reads and predicts.

    x: (B, T, P), embeddings in its order. lengths: (B,) of the sentences, boundaries included.
    targets: (n,) the unit that comes next. target_positions: (n,) where that is predicted, of the B(T - 1)
    units with another one behind them; None: at all of these, and where there is no next one the target is
    IGNORE_INDEX. The reversed sentence begins with </s> and ends with <s>, so both directions predict the
    next unit in their own order.
    """

    direction: LSTMStack
    x: Tensor
    lengths: Tensor
    targets: Tensor
    target_positions: Tensor | None

    @property
    def n(self) -> int | Tensor:
        """Predictions."""
        return (
            len(self.targets) if self.target_positions is not None else (self.targets != IGNORE_INDEX).sum()
        )

    def predict(self, weights: Leaves, *, dropout: Dropout | None = None, **options: Any) -> Tensor:
        """What the softmax reads, (n, P). weights: of the direction; options: of LSTMStack.forward."""
        options |= {
            "dropout": dropout,
            "lengths": self.lengths - 1,
        }  # behind the last unit nothing is predicted
        layers = functional_call(self.direction, weights, (self.x,), options)
        hidden = layers[-1][:, :-1].flatten(0, 1)
        if self.target_positions is not None:
            hidden = hidden.index_select(0, self.target_positions)
        return hidden if dropout is None else dropout(hidden)


def direction_inputs(
    bilm: BiLMNetwork, batch: TokenBatch, ahead: Tensor, back: Tensor, *, static_shapes: bool
) -> list[DirectionInputs]:
    """Both directions, given the embeddings (B, T, P) that each reads, from the left to the right.

    static_shapes: without `target_positions`, whose number nobody knows beforehand.
    """
    order = batch.input_ids, reverse_padded(batch.input_ids, batch.lengths)
    targets = [units[:, 1:].flatten() for units in order]
    target_positions: Tensor | None = None
    if static_shapes:
        targets = [units.masked_fill(units == PAD, IGNORE_INDEX) for units in targets]
    else:
        target_positions = (targets[0] != PAD).nonzero()[
            :, 0
        ]  # the same of reversed sentences: padding stays
        targets = [units[target_positions] for units in targets]
    return [
        DirectionInputs(bilm.forward_lm, ahead, batch.lengths, targets[0], target_positions),
        DirectionInputs(
            bilm.backward_lm, reverse_padded(back, batch.lengths), batch.lengths, targets[1], target_positions
        ),
    ]


def count_targets(batch: TokenBatch) -> int:
    """Of one direction. Of a batch on a GPU it waits for that."""
    return int((batch.lengths - 1).clamp(min=0).sum())


def perplexity(nll: float, n: int) -> float:
    """exp(nll / n): the inverse of the geometric mean of the predictions' probabilities."""
    try:
        return math.exp(nll / n)
    except OverflowError:
        return math.inf

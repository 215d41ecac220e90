"""Compute the losses of both language models, for pretraining and perplexity."""

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
    """Negative log-likelihood (natural logarithm) of sentences, in each direction.

    Attributes:
        nll: (2,), sums over all predictions, forward and backward. Not a likelihood with a sampled softmax.
            The tensor is on the device that computed it: reading it waits for a GPU.
        n_targets: Predictions in one direction. Each sentence has one more than units, because the boundary
            after it is predicted too (`</s>` forward, `<s>` backward).
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
        """Mean over both directions and all predictions: the training loss (section 3.1)."""
        return (self.forward + self.backward) / (2 * self.n_targets)


def lm_loss(bilm: BiLMNetwork, batch: TokenBatch) -> LMLoss:
    """Compute the losses of both directions on a batch, with the full softmax and without gradients."""
    with torch.no_grad():
        # Detached: otherwise ChunkedCrossEntropy would compute their gradients, even under no_grad.
        weight, bias = bilm.softmax_weight.detach(), bilm.softmax_bias.detach()
        losses = []
        sides = direction_inputs(bilm, batch, *bilm.token_encoder(batch), static_shapes=False)
        for side in sides:
            x = side.predict({})
            losses.append(ChunkedCrossEntropy.apply(x, weight, bias, side.targets, None))
    return LMLoss(torch.stack(losses), len(sides[0].targets))


@dataclass(frozen=True)
class DirectionInputs:
    """One direction, with its inputs and targets.

    The reversed sentence begins with </s> and ends with <s>, so both directions predict the next unit in
    their own order.

    Attributes:
        direction: The LSTM layers.
        x: (B, T, P), embeddings in the order of the direction.
        lengths: (B,), units of the sentences, boundaries included.
        targets: (n,), the next unit of each prediction.
        target_positions: (n,), indices of the predictions among the B(T - 1) positions before the last. None:
            all positions predict, and the target is IGNORE_INDEX where there is no next unit.
    """

    direction: LSTMStack
    x: Tensor
    lengths: Tensor
    targets: Tensor
    target_positions: Tensor | None

    @property
    def n(self) -> int | Tensor:
        """Number of predictions."""
        return (
            len(self.targets) if self.target_positions is not None else (self.targets != IGNORE_INDEX).sum()
        )

    def predict(self, weights: Leaves, *, dropout: Dropout | None = None, **options: Any) -> Tensor:
        """Return the inputs of the softmax, (n, P).

        weights: of the direction; options: of LSTMStack.forward.
        """
        return self.softmax_inputs(self.layers(weights, dropout=dropout, **options)[-1], dropout)

    def layers(self, weights: Leaves, *, dropout: Dropout | None = None, **options: Any) -> list[Tensor]:
        """Return the output of each layer, (B, T, P), undefined for the last unit, which predicts nothing.

        weights: of the direction; options: of LSTMStack.forward.
        """
        options |= {"dropout": dropout, "lengths": self.lengths - 1}
        found: list[Tensor] = functional_call(self.direction, weights, (self.x,), options)
        return found

    def softmax_inputs(self, states: Tensor, dropout: Dropout | None) -> Tensor:
        """Return the inputs of the softmax (n, P) from the last layer's output (B, T, P)."""
        hidden = states[:, :-1].flatten(0, 1)
        if self.target_positions is not None:
            hidden = hidden.index_select(0, self.target_positions)
        return hidden if dropout is None else dropout(hidden)


def direction_inputs(
    bilm: BiLMNetwork,
    batch: TokenBatch,
    forward_inputs: Tensor,
    backward_inputs: Tensor,
    *,
    static_shapes: bool,
) -> list[DirectionInputs]:
    """Build the inputs of both directions from their embeddings (B, T, P), both in reading order.

    static_shapes: omit `target_positions`, whose size depends on the content of the batch.
    """
    order = batch.input_ids, reverse_padded(batch.input_ids, batch.lengths)
    targets = [units[:, 1:].flatten() for units in order]
    target_positions: Tensor | None = None
    if static_shapes:
        targets = [units.masked_fill(units == PAD, IGNORE_INDEX) for units in targets]
    else:
        # Equal for reversed sentences, whose padding stays in place.
        target_positions = (targets[0] != PAD).nonzero()[:, 0]
        targets = [units[target_positions] for units in targets]
    return [
        DirectionInputs(bilm.forward_lm, forward_inputs, batch.lengths, targets[0], target_positions),
        DirectionInputs(
            bilm.backward_lm,
            reverse_padded(backward_inputs, batch.lengths),
            batch.lengths,
            targets[1],
            target_positions,
        ),
    ]


def count_targets(batch: TokenBatch) -> int:
    """Return the number of predictions of one direction. Waits for the GPU if the batch is there."""
    return int((batch.lengths - 1).clamp(min=0).sum())


def perplexity(nll: float, n: int) -> float:
    """Return exp(nll / n), the inverse of the geometric mean of the predicted probabilities."""
    try:
        return math.exp(nll / n)
    except OverflowError:
        return math.inf

"""Predict labels of units from the states of both directions: a second task of pretraining.

A biLM that also predicts the tags of an analyser has states that tell them, and later components need fewer
sentences with tags (multi-task learning, Collobert and Weston 2008; figures: docs/zh_elmo_sm.md).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...modeling.cross_entropy import ChunkedCrossEntropy
from ...modeling.lstm import reverse_padded


class LabelHead(nn.Module):
    """A linear layer that scores labels, on normalised states of both directions.

    Args:
        projection_dim: P, width of a direction.
        n_labels: Number of labels.
    """

    def __init__(self, projection_dim: int, n_labels: int):
        super().__init__()
        self.linear = nn.Linear(2 * projection_dim, n_labels)

    def forward(
        self, forward_states: Tensor, backward_states: Tensor, lengths: Tensor, labels: Tensor
    ) -> Tensor:
        """Return the sum of -log softmax(scores)[label] over all units with a label, a scalar.

        Args:
            forward_states: (B, T, P), mean of the layers of the forward direction, float32.
            backward_states: (B, T, P), mean of the layers of the backward direction, in its own order.
            lengths: (B,), units of the sentences, boundaries included.
            labels: (B, T), cross_entropy.IGNORE_INDEX where a unit has no label.
        """
        states = torch.cat([forward_states, reverse_padded(backward_states, lengths)], -1).flatten(0, 1)
        normalized = F.layer_norm(states, states.shape[1:])
        targets = labels.flatten()  # without a selection, whose size a GPU would have to report first
        loss: Tensor = ChunkedCrossEntropy.apply(
            normalized, self.linear.weight, self.linear.bias, targets, None
        )
        return loss

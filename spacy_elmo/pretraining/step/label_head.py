"""Predict labels of units from the states of both directions: a second task of pretraining.

A biLM that also predicts the tags of an analyser has states that tell them, and later components need fewer
sentences with tags (multi-task learning, Collobert and Weston 2008; silver labels, see docs/pretraining.md).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...modeling.cross_entropy import IGNORE_INDEX
from ...modeling.lstm import reverse_padded


class LabelHead(nn.Module):
    """A linear layer on the mean of the LSTM layers' outputs, which is normalised.

    Args:
        projection_dim: P, width of a direction.
        n_labels: Number of labels.
    """

    def __init__(self, projection_dim: int, n_labels: int):
        super().__init__()
        self.linear = nn.Linear(2 * projection_dim, n_labels)

    def forward(self, ahead: Tensor, back: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of -log softmax(scores)[label] over all units with a label.

        Args:
            ahead: (B, T, P), states of the forward direction.
            back: (B, T, P), states of the backward direction, in its own order.
            lengths: (B,), units of the sentences, boundaries included.
            labels: (B, T), IGNORE_INDEX where a unit has no label.
        """
        states = torch.cat([ahead, reverse_padded(back, lengths)], -1).flatten(0, 1)
        labelled = (labels.flatten() != IGNORE_INDEX).nonzero()[:, 0]
        states = states.index_select(0, labelled)
        scores = self.linear(F.layer_norm(states, states.shape[1:]))
        return F.cross_entropy(scores, labels.flatten()[labelled], reduction="sum")

"""LSTM layers that read both directions of the layer below: the encoder "lstm" of ELMoForManyLangs."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..kernels.cudnn import no_tf32
from .config import BiLMConfig


class StackedBiLSTM(nn.Module):
    """Bidirectional LSTM layers, and one projection that both halves of the last layer share.

    Shapes: (B, T, P) and lengths (B,) -> (B, T, 2P), [forward; backward], 0 after the end of a sentence. From
    the second layer on, a state has read the whole sentence, so such a network cannot be a language model.
    """

    def __init__(self, config: BiLMConfig):
        super().__init__()
        width, hidden = config.projection_dim, config.hidden_size
        self.lstm = nn.LSTM(width, hidden, config.n_layers, batch_first=True, bidirectional=True)
        self.projection = nn.Linear(hidden, width)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return the output of the last layer, (B, T, 2P), from x (B, T, P) and lengths (B,)."""
        # Packed, so that the backward direction starts at the end of each sentence.
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        with no_tf32() if x.is_cuda else nullcontext():
            packed = self.lstm(packed)[0]
        y, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        return torch.cat([self.projection(half) for half in y.chunk(2, -1)], -1)

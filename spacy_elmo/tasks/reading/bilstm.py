"""A bidirectional LSTM over padded sequences."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...kernels.native_training import NativeLayer, rows_by_step, trains


class BiLSTM(nn.Module):
    """One bidirectional LSTM over padded sequences: (B, T, I) -> (B, T, 2H).

    A linear layer first reduces the input to H columns for each direction: the native kernel, which trains
    several times faster than torch on a CPU, needs as many columns as states.

    It consists of two LSTMs. The second reads sequences that are reversed within their lengths, so that
    padding comes last; mask the states of padding. Packed sequences would avoid padding, but torch's backward
    pass with them takes thirty times as long on a CPU.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.reduction = nn.Linear(input_size, 2 * hidden_size)
        self.forward_lstm = nn.LSTM(hidden_size, hidden_size, batch_first=True)
        self.backward_lstm = nn.LSTM(hidden_size, hidden_size, batch_first=True)
        for lstm in (self.forward_lstm, self.backward_lstm):
            weights = dict(lstm.named_parameters())
            nn.init.zeros_(weights["bias_hh_l0"])
            nn.init.zeros_(weights["bias_ih_l0"])
            # Open forget gates (Jozefowicz et al. 2015).
            nn.init.ones_(weights["bias_ih_l0"][hidden_size : 2 * hidden_size])

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return the states (B, T, 2H). x: (B, T, I); lengths: (B,) on the CPU.

        The kernel skips padding if the lengths descend.
        """
        B, T, _ = x.shape
        positions = torch.arange(T)
        reverse = lengths[:, None] - 1 - positions
        reverse = torch.where(reverse < 0, positions, reverse) + T * torch.arange(B)[:, None]
        rows = reverse.flatten().to(x.device)  # (B * T,), its own inverse
        weights, biases = self.reduction.weight.chunk(2), self.reduction.bias.chunk(2)
        ahead, back = (F.linear(x, w, b) for w, b in zip(weights, biases, strict=True))
        ahead = _lstm(self.forward_lstm, ahead, lengths)
        back = _lstm(self.backward_lstm, Permutation.apply(back, rows), lengths)
        return torch.cat([ahead, Permutation.apply(back, rows)], -1)


def _lstm(lstm: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    """Run an LSTM, (B, T, H) -> (B, T, H) of the same type; on a CPU, train it in the native kernel."""
    if not (torch.is_grad_enabled() and trains(x.float())):
        states: Tensor = lstm(x)[0]
        return states
    weights = dict(lstm.named_parameters())
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    matrices = weights["weight_ih_l0"], weights["weight_hh_l0"]
    sizes = rows_by_step(lengths, x.shape[1])
    y: Tensor = NativeLayer.apply(x.float(), *matrices, bias, None, sizes, x.dtype == torch.bfloat16)
    return y.to(x.dtype)


class Permutation(torch.autograd.Function):
    """Reordering of the rows of (B, T, H) that is its own inverse: its gradient is gathered, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        """Return the rows in the new order. rows: (B * T,)."""
        ctx.save_for_backward(rows)
        return x.reshape(-1, x.shape[-1]).index_select(0, rows).view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Return the gradient in the old order."""
        (rows,) = ctx.saved_tensors
        return grad.reshape(-1, grad.shape[-1]).index_select(0, rows).view_as(grad), None

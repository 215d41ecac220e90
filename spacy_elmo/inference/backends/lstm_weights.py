"""Weights and options of the biLM's LSTMs, in the form that all backends read."""

from dataclasses import dataclass

from torch import Tensor

from ...modeling.lstm import LSTMStack


@dataclass(frozen=True)
class LSTMWeights:
    """One LSTM layer of one direction in float32, with gates in torch's order i, f, g, o.

    w_ih: (4H, P); w_hh: (4H, P); bias: (4H,), the sum of both; w_hr: (P, H), None without a projection (P =
    H).
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
    """Skip connection and clips of a layer; see modeling.lstm.LSTMStack."""

    skip: bool
    cell_clip: float | None
    proj_clip: float | None


def lstm_weights(direction: LSTMStack) -> list[LSTMWeights]:
    """Return the weights of a direction's layers, lowest first."""
    cells = []
    for layer in direction.layers:
        weights = {name: p.detach().float() for name, p in layer.named_parameters()}
        bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
        cells.append(
            LSTMWeights(weights["weight_ih_l0"], weights["weight_hh_l0"], bias, weights.get("weight_hr_l0"))
        )
    return cells


def lstm_options(direction: LSTMStack) -> LSTMOptions:
    """Return the skip connection and clips of a direction."""
    return LSTMOptions(direction.skip, direction.cell_clip, direction.proj_clip)

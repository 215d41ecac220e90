"""Encode statefully, as bilm-tf, AllenNLP and ELMoForManyLangs did: only to reproduce their vectors."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ElmoError
from ..locks import ForkSafeLock
from ..modeling.collate import collate
from ..modeling.config import BiLMConfig
from ..modeling.lstm import LSTMStack, lstm_cell, reverse_padded
from ..modeling.network import BiLMNetwork

State = tuple[Tensor, Tensor]  # h (R, P) and c (R, H)


class LSTMStates:
    """LSTM states of each row of a batch after its last sentence; zero at first.

    A batch with fewer rows than an earlier one does not change the states of the remaining rows.
    """

    def __init__(self) -> None:
        self.lock = ForkSafeLock()
        self._states: dict[tuple[int, int], State] = {}

    def reset(self) -> None:
        """Set all states to zero."""
        with self.lock:
            self._states.clear()

    def run(self, side: int, direction: LSTMStack, x: Tensor, lengths: Tensor) -> list[Tensor]:
        """Run LSTMStack.forward on (B, T, P) from the stored states. side: identifies the direction."""
        outputs = []
        for depth, layer in enumerate(direction.layers):
            weights = dict(layer.named_parameters())
            config = direction.cell_clip, direction.proj_clip
            state = self._of_rows((side, depth), len(x), weights, x)
            y, state = _lstm_layer(weights, config, x, lengths, state)
            for whole, new in zip(self._states[side, depth], state, strict=True):
                whole[: len(x)] = new
            x = x + y if direction.skip and depth else y
            outputs.append(x)
        return outputs

    def _of_rows(self, key: tuple[int, int], rows: int, weights: Mapping[str, Tensor], like: Tensor) -> State:
        w_hh = weights["weight_hh_l0"]  # (4H, P)
        widths = w_hh.shape[1], w_hh.shape[0] // 4
        h, c = self._states.get(key) or (like.new_zeros(0, width) for width in widths)
        missing = max(0, rows - len(h))
        h, c = (torch.cat([s.to(like.device), like.new_zeros(missing, s.shape[1])]) for s in (h, c))
        self._states[key] = h, c
        return h[:rows], c[:rows]


def _lstm_layer(
    weights: Mapping[str, Tensor],
    clips: tuple[float | None, float | None],
    x: Tensor,
    lengths: Tensor,
    state: State,
) -> tuple[Tensor, State]:
    """Run one layer over (B, T, P) from a state; the state of a row stays fixed after its sentence ends."""
    gates_x = F.linear(x, weights["weight_ih_l0"], weights["bias_ih_l0"] + weights["bias_hh_l0"])
    w_hh, w_hr = weights["weight_hh_l0"], weights.get("weight_hr_l0")
    h, c = state
    outputs = []
    for t, step in enumerate(gates_x.unbind(1)):  # (B, 4H)
        new_h, new_c = lstm_cell(step + F.linear(h, w_hh), c, w_hr, *clips)
        inside = (t < lengths)[:, None]
        h, c = torch.where(inside, new_h, h), torch.where(inside, new_c, c)
        outputs.append(h)
    return torch.stack(outputs, 1), (h, c)


def encode_stateful(
    bilm: BiLMNetwork, sentences: Sequence[Sequence[str]], states: LSTMStates
) -> list[np.ndarray]:
    """Encode sentences, see BiLM.encode.

    Raises an ElmoError for stacked_bidirectional, which has no states.
    """
    config: BiLMConfig = bilm.config
    if config.stacked_bidirectional:
        raise ElmoError(
            'The encoder "lstm" of ELMoForManyLangs keeps no state between sentences: omit stateful.'
        )
    if not sentences:
        return []
    with states.lock, torch.inference_mode():
        batch = collate(bilm, sentences).to(bilm.device)
        inputs, lengths = bilm.token_encoder(batch), batch.lengths
        ahead = states.run(0, bilm.forward_lm, inputs[0], lengths)
        back = states.run(1, bilm.backward_lm, reverse_padded(inputs[1], lengths), lengths)
        pairs = [inputs, *((a, reverse_padded(b, lengths)) for a, b in zip(ahead, back, strict=True))]
        layers = torch.stack([torch.cat(pair, -1) for pair in pairs]).float().cpu().numpy()  # (L, B, T, D)
    rows = zip(layers.swapaxes(0, 1), sentences, strict=True)
    return [np.ascontiguousarray(row[:, 1 : 1 + len(sentence)]) for row, sentence in rows]

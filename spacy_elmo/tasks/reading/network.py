"""BiDAF (Seo et al. 2017) in torch: two sequences of characters in, scores of the answer's two ends out.

Letters: W windows of passages, Q questions, P pairs of a window and a question, T characters of the longest
window, U those of the longest question, D columns of the vectors that come with the characters, H hidden
size of one direction.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import BidirectionalAttention, length_mask

UNKNOWN = 1  # row of the character embedding; 0 is padding
N_MATCHES = 3  # columns of exact matches, see features.match_features


@dataclass(frozen=True)
class BiDAFConfig:
    """Sizes of the network; saved as JSON with its weights."""

    characters: str
    """The characters that have an embedding of their own."""
    input_dim: int = 0
    """D at the input; 0: characters alone."""
    output_dim: int = 0
    """Columns of the vectors after the modelling layer; 0: none."""
    char_dim: int = 64
    hidden_size: int = 100
    n_highway: int = 2
    modeling_layers: int = 2

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


class Sequences(NamedTuple):
    """Padded sequences of characters."""

    char_ids: Tensor
    """(B, T) int64, 0 is padding"""
    lengths: Tensor
    """(B,) int64 on the CPU, each at least 1"""
    vectors: Tensor | None
    """(B, T, D)"""


class SpanScores(NamedTuple):
    """Unnormalised scores of each pair: tensors in the network, arrays outside of it."""

    start: Any
    """(P, T)"""
    end: Any
    """(P, T)"""
    no_answer: Any
    """(P,), beside the scores of starts and of ends alike"""


class Highway(nn.Module):
    """y = g * relu(W x) + (1 - g) * x, g = sigmoid(V x) (Srivastava et al. 2015)."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, 2 * width)
        with torch.no_grad():
            self.linear.bias[width:].fill_(-1.0)  # carries its input through at first

    def forward(self, x: Tensor) -> Tensor:
        transformed, gate = self.linear(x).chunk(2, -1)
        return torch.lerp(x, F.relu(transformed), torch.sigmoid(gate))


class LinearOfParts(nn.Module):
    """A linear layer of the concatenation of its inputs, which is not made: that saves its memory.

    sizes: columns of each input; width: of the output.
    """

    def __init__(self, sizes: Sequence[int], width: int):
        super().__init__()
        self.sizes = list(sizes)
        self.linear = nn.Linear(sum(sizes), width)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        weights = self.linear.weight.split(self.sizes, 1)
        out = F.linear(parts[0], weights[0], self.linear.bias)
        for part, weight in zip(parts[1:], weights[1:], strict=True):
            out = out + F.linear(part, weight)
        return out


class BiLSTM(nn.Module):
    """One bidirectional LSTM over padded sequences: (B, T, I) -> (B, T, 2H).

    Two LSTMs, the second on sequences that are reversed within their lengths, so that padding comes after
    what counts; its states there are to be masked. Packed sequences would do without padding, but torch's
    backward pass takes thirty times as long with them on a CPU.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.forward_lstm = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.backward_lstm = nn.LSTM(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        B, T, _ = x.shape
        positions = torch.arange(T)
        reverse = lengths[:, None] - 1 - positions
        reverse = torch.where(reverse < 0, positions, reverse) + T * torch.arange(B)[:, None]
        rows = reverse.flatten().to(x.device)  # (B * T,), its own inverse
        ahead, _ = self.forward_lstm(x)
        back, _ = self.backward_lstm(x.flatten(0, 1).index_select(0, rows).view_as(x))
        back = back.flatten(0, 1).index_select(0, rows).view_as(ahead)
        return torch.cat([ahead, back], -1)


class BiDAF(nn.Module):
    """Scores of start, end and "no answer" for pairs of a passage's window and a question.

    Input layer: [character embedding; vectors] -> linear -> highways, one for both sides, then the contextual
    BiLSTM. Each window and each question is encoded once, however many pairs it belongs to. Attention in both
    directions, with the exact matches of characters beside it, goes through a linear layer to 2H columns, as
    in DocQA (Clark & Gardner 2018), which makes the modelling BiLSTMs a third of the work of BiDAF's own. The
    start is scored on the modelling layer's output, the end on that of one more BiLSTM; vectors of
    `output_dim` columns join both, where Peters et al. (2018) put ELMo for the second time.
    """

    def __init__(self, config: BiDAFConfig):
        super().__init__()
        self.config = config
        hidden, width = config.hidden_size, 2 * config.hidden_size
        self.embedding = nn.Embedding(UNKNOWN + 1 + len(config.characters), config.char_dim, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.1)
        with torch.no_grad():
            self.embedding.weight[:2].zero_()  # what was never met says nothing
        self.projection = nn.Linear(config.char_dim + config.input_dim, width)
        self.highways = nn.ModuleList(Highway(width) for _ in range(config.n_highway))
        self.contextual = BiLSTM(width, hidden)
        self.attention = BidirectionalAttention(width)
        self.merge = LinearOfParts([width] * 4 + [N_MATCHES], width)
        self.modeling = nn.ModuleList(BiLSTM(width, hidden) for _ in range(config.modeling_layers))
        self.end_encoder = BiLSTM(width, hidden)
        scored = [width, width, config.output_dim] if config.output_dim else [width, width]
        self.start_scorer = LinearOfParts(scored, 1)
        self.end_scorer = LinearOfParts(scored, 1)
        self.no_answer_hidden = nn.Linear(2 * width, hidden)
        self.no_answer_scorer = nn.Linear(hidden, 1)

    def forward(
        self,
        windows: Sequences,
        questions: Sequences,
        pairs: Tensor,
        matches: Tensor,
        output_vectors: Tensor | None = None,
        dropout: float = 0.0,
    ) -> SpanScores:
        """Score the pairs.

        pairs: (P, 2) int64, the window and the question of each. matches: (P, T, N_MATCHES).
        output_vectors: (W, T, output_dim). dropout: on the inputs of all LSTMs and of the scorers, while the
        module is in training mode.
        """
        window_ids, question_ids = pairs.unbind(1)
        lengths = windows.lengths[window_ids.cpu()]
        H = self._encode(windows, dropout)[window_ids]  # (P, T, 2H)
        U = self._encode(questions, dropout)[question_ids]  # (P, U, 2H)
        question_mask = length_mask(questions.lengths, U.shape[1], U.device)[question_ids]
        mask = length_mask(lengths, H.shape[1], H.device)
        G = F.relu(self.merge([*self.attention(H, U, mask, question_mask), matches]))  # (P, T, 2H)
        M = G
        for layer in self.modeling:
            M = layer(self._drop(M, dropout), lengths)
        E = self.end_encoder(self._drop(M, dropout), lengths)
        joined = [G] if output_vectors is None else [G, output_vectors[window_ids]]
        joined = [self._drop(part, dropout) for part in joined]
        start = self.start_scorer([joined[0], self._drop(M, dropout), *joined[1:]]).squeeze(-1)
        end = self.end_scorer([joined[0], self._drop(E, dropout), *joined[1:]]).squeeze(-1)
        pooled = torch.cat([_pool(start, M, mask), _pool(end, E, mask)], -1)  # (P, 4H)
        no_answer = self.no_answer_scorer(F.relu(self.no_answer_hidden(self._drop(pooled, dropout))))
        return SpanScores(start, end, no_answer.squeeze(-1))

    def attention_map(self, window: Sequences, question: Sequences) -> Tensor:
        """(T, U): how much each character of one window attends to each of one question; rows sum to 1."""
        H, U = self._encode(window, 0.0), self._encode(question, 0.0)
        return self.attention.passage_to_question(H, U, length_mask(question.lengths, U.shape[1], U.device))[
            0
        ]

    def _encode(self, sequences: Sequences, dropout: float) -> Tensor:
        x = self.embedding(sequences.char_ids)
        if sequences.vectors is not None:
            x = torch.cat([x, sequences.vectors], -1)
        x = self.projection(self._drop(x, dropout))
        for highway in self.highways:
            x = highway(x)
        return self.contextual(self._drop(x, dropout), sequences.lengths)

    def _drop(self, x: Tensor, rate: float) -> Tensor:
        """Drop columns of (B, ..., D), the same at all positions of a sequence (Gal & Ghahramani 2016)."""
        if not rate or not self.training:
            return x
        shape = (len(x), *[1] * (x.ndim - 2), x.shape[-1])
        return x * F.dropout(torch.ones(shape, dtype=x.dtype, device=x.device), rate)


def _pool(scores: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """(P, 2H): the states (P, T, 2H), weighted by the softmax of the scores (P, T)."""
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    return torch.bmm(weights[:, None], states)[:, 0]

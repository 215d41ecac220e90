"""BiDAF (Seo et al. 2017) in torch: scores of an answer's start and end from two character sequences.

Letters: W windows of passages, Q questions, P pairs of a window and a question, T characters of the longest
window, U characters of the longest question, D columns of the input vectors, H hidden size of one direction.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import BidirectionalAttention, length_mask
from .bilstm import BiLSTM

UNKNOWN = 1  # row of the character embedding; 0 is padding
N_MATCHES = 3  # columns of exact matches, see features.match_features


@dataclass(frozen=True)
class BiDAFConfig:
    """Sizes of the network; saved as JSON with its weights."""

    characters: str
    """Characters with an embedding."""
    input_dim: int = 0
    """D at the input; 0: only the character embedding."""
    output_dim: int = 0
    """Columns of the vectors after the modelling layer; 0: none."""
    char_dim: int = 64
    hidden_size: int = 64
    n_highway: int = 2
    modeling_layers: int = 1
    end_layers: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


class Sequences(NamedTuple):
    """Padded sequences of characters."""

    char_ids: Tensor
    """(B, T) int64, 0 is padding."""
    lengths: Tensor
    """(B,) int64 on the CPU, each at least 1."""
    vectors: Tensor | None
    """(B, T, D), or None."""


class SpanScores(NamedTuple):
    """Unnormalised scores of each pair: tensors inside the network, arrays outside."""

    start: Any
    """(P, T)."""
    end: Any
    """(P, T)."""
    no_answer: Any
    """(P,), to be compared with the scores of starts and with those of ends."""


class Highway(nn.Module):
    """Highway layer y = g * relu(W x) + (1 - g) * x, g = sigmoid(V x) (Srivastava et al. 2015)."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, 2 * width)
        with torch.no_grad():
            self.linear.bias[width:].fill_(-1.0)  # carry the input at first

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of the shape of x."""
        transformed, gate = self.linear(x).chunk(2, -1)
        return torch.lerp(x, F.relu(transformed), torch.sigmoid(gate))


class BiDAF(nn.Module):
    """Scores of start, end and "no answer" for pairs of a passage's window and a question.

    The input layer, shared by both sides, is [character embedding; vectors] -> linear -> highways ->
    contextual BiLSTM. Each window and each question is encoded once, however many pairs it belongs to.
    Attention in both directions and the exact matches of characters go through a linear layer to 2H columns,
    as in DocQA (Clark & Gardner 2018), then through the modelling BiLSTMs. The start is scored on their
    output; the end on the output of `end_layers` more, given the expected state at the start, as in a pointer
    network (Wang & Jiang 2017). Vectors of `output_dim` columns are added to both inputs of the scorers,
    where Peters et al. (2018) use ELMo a second time.
    """

    def __init__(self, config: BiDAFConfig):
        super().__init__()
        self.config = config
        hidden, width = config.hidden_size, 2 * config.hidden_size
        self.embedding = nn.Embedding(UNKNOWN + 1 + len(config.characters), config.char_dim, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.1)
        with torch.no_grad():
            self.embedding.weight[:2].zero_()  # padding and unknown characters
        self.projection = nn.Linear(config.char_dim + config.input_dim, width)
        self.highways = nn.ModuleList(Highway(width) for _ in range(config.n_highway))
        self.contextual = BiLSTM(width, hidden)
        self.attention = BidirectionalAttention(width)
        self.merge = nn.Linear(4 * width + N_MATCHES, width)
        self.modeling = nn.ModuleList(BiLSTM(width, hidden) for _ in range(config.modeling_layers))
        self.end_encoder = nn.ModuleList(BiLSTM(width, hidden) for _ in range(config.end_layers))
        self.end_given_start = nn.Linear(width, width)
        nn.init.zeros_(self.end_given_start.weight)
        self.start_scorer = nn.Linear(2 * width + config.output_dim, 1)
        self.end_scorer = nn.Linear(2 * width + config.output_dim, 1)
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

        pairs: (P, 2) int64, the window and the question of each. matches: (P, T, N_MATCHES). output_vectors:
        (W, T, output_dim). dropout: rate on the inputs of all LSTMs and scorers, in training mode.
        """
        window_ids, question_ids = pairs.unbind(1)
        lengths = windows.lengths[window_ids.cpu()]
        H = self._encode(windows, dropout)[window_ids]  # (P, T, 2H)
        U = self._encode(questions, dropout)[question_ids]  # (P, U, 2H)
        question_mask = length_mask(questions.lengths, U.shape[1], U.device)[question_ids]
        mask = length_mask(lengths, H.shape[1], H.device)
        A, b = self.attention(H, U, mask, question_mask)
        G = F.relu(self._merge(H, A, b, matches))  # (P, T, 2H)
        M = G
        for layer in self.modeling:
            M = layer(self._drop(M, dropout), lengths)
        E = M
        for layer in self.end_encoder:
            E = layer(self._drop(E, dropout), lengths)
        output = [] if output_vectors is None else [output_vectors[window_ids]]
        start = self._score(self.start_scorer, [G, M, *output], dropout)
        at_start = _pool(start, M, mask)  # (P, 2H)
        end = self._score(self.end_scorer, [G, E, *output], dropout)
        end = end + torch.bmm(E, self.end_given_start(at_start)[:, :, None].to(E.dtype)).squeeze(-1)
        pooled = torch.cat([at_start, _pool(end, E, mask)], -1)  # (P, 4H)
        no_answer = self.no_answer_scorer(F.relu(self.no_answer_hidden(pooled)))
        return SpanScores(start, end, no_answer.squeeze(-1))

    def attention_map(self, window: Sequences, question: Sequences) -> Tensor:
        """Return the attention (T, U) of the characters of one window over one question; rows sum to 1."""
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
        H: Tensor = self.contextual(self._drop(x, dropout), sequences.lengths)
        return H

    def _merge(self, H: Tensor, A: Tensor, b: Tensor, matches: Tensor) -> Tensor:
        """Apply a linear layer to [h; a; h * a; h * b; matches] of each character: (P, T, 2H).

        The concatenation is never built, and b, which is the same for all h of a pair, scales the weights:
        both save memory and time.
        """
        width = H.shape[-1]
        of_h, of_a, of_h_a, of_h_b, of_matches = self.merge.weight.split([width] * 4 + [N_MATCHES], 1)
        scaled = of_h + b[:, None] * of_h_b  # (P, 2H, 2H)
        G = torch.bmm(H, scaled.to(H.dtype).transpose(1, 2)) + F.linear(A, of_a, self.merge.bias)
        return G + F.linear(H * A, of_h_a) + F.linear(matches, of_matches)

    def _score(self, scorer: nn.Linear, parts: Sequence[Tensor], dropout: float) -> Tensor:
        """Score the concatenation of parts (P, T, D): (P, T). Dropout is applied to the weights."""
        total: Tensor = scorer.bias
        weights = scorer.weight.split([part.shape[-1] for part in parts], 1)  # (1, D) each
        for part, weight in zip(parts, weights, strict=True):
            dropped = self._drop(weight.expand(len(part), -1), dropout).to(part.dtype)  # (P, D)
            total = total + torch.bmm(part, dropped[:, :, None]).squeeze(-1)
        return total

    def _drop(self, x: Tensor, rate: float) -> Tensor:
        """Drop columns of (B, ..., D), the same at all positions of a sequence (Gal & Ghahramani 2016)."""
        if not rate or not self.training:
            return x
        shape = (len(x), *[1] * (x.ndim - 2), x.shape[-1])
        return x * F.dropout(torch.ones(shape, dtype=x.dtype, device=x.device), rate)


def _pool(scores: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """Average states (P, T, 2H) by the softmax of the scores (P, T): (P, 2H)."""
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    return torch.bmm(weights[:, None].to(states.dtype), states)[:, 0]

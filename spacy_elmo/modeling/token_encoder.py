"""Compute context-independent vectors of units, of width P: the input of the LSTMs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import BiLMConfig
from .vocab import CHAR_PAD, PAD

NGRAM_STD = 0.3  # of n-gram vectors: small compared with unit vectors, whose variance is 1


@dataclass
class TokenBatch:
    """Sentences as ids, boundaries included, padded on the right.

    Attributes:
        input_ids: (B, T), rows of the embedding table; PAD after the end of a sentence.
        lengths: (B,), units of each sentence, both boundaries included.
        type_ids: (B, T), rows of `type_char_ids`, where each distinct word is spelled once. None without a
            char-CNN.
        type_char_ids: (U, C), characters of each distinct word. None without a char-CNN.
        ngram_ids: (B, T, max_ngram_length - 1), rows of the n-grams of 2, 3, ... units that end at each unit;
            0 for none. None for models without n-grams.
    """

    input_ids: Tensor
    lengths: Tensor
    type_ids: Tensor | None = None
    type_char_ids: Tensor | None = None
    ngram_ids: Tensor | None = None

    def to(self, device: torch.device) -> "TokenBatch":
        """Return the batch on another device. The transfer to a GPU is asynchronous."""
        parts = list(vars(self).values())
        if device.type == "cuda":
            parts = [x if x is None or x.is_cuda else x.pin_memory() for x in parts]
        moved = (None if x is None else x.to(device, non_blocking=device.type == "cuda") for x in parts)
        return type(self)(*moved)  # type: ignore[arg-type]


@dataclass
class LabelledBatch(TokenBatch):
    """Sentences as ids, with a label of each unit, for training.

    labels: (B, T), numbers of labels; cross_entropy.IGNORE_INDEX for boundaries, padding and units without
        a label.
    """

    labels: Tensor | None = None


class Highway(nn.Module):
    """Highway layer y = g * relu(W_t x + b_t) + (1 - g) * x, g = sigmoid(W_g x + b_g).

    Srivastava et al. 2015. Shapes: (N, F) -> (N, F).
    """

    def __init__(self, width: int):
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)  # carry the input at first, as the paper advises

    def forward(self, x: Tensor) -> Tensor:
        """Return y (N, F) from x (N, F)."""
        gate = torch.sigmoid(self.gate(x))
        return gate * F.relu(self.transform(x)) + (1 - gate) * x


class CharCNN(nn.Module):
    """Vector of a word from its characters: convolutions, max pooling, highways (Kim et al. 2016).

    Shapes: (U, C) character ids -> (U, F), F the number of all filters. Positions whose window includes
    padding are excluded from the maximum, unless the word is shorter than the window. With
    `config.convolve_padding`, padding counts as a character.
    """

    def __init__(self, config: BiLMConfig, n_characters: int):
        super().__init__()
        self.reads_padding = config.convolve_padding
        padding = None if self.reads_padding else CHAR_PAD
        self.embedding = nn.Embedding(n_characters, config.char_embedding_dim, padding_idx=padding)
        self.filters = config.char_filters
        self.convolutions = nn.ModuleList(nn.Conv1d(config.char_embedding_dim, n, w) for w, n in self.filters)
        self.width = sum(n for _, n in self.filters)
        self.highways = nn.ModuleList(Highway(self.width) for _ in range(config.n_highway))
        self.activation: Callable[[Tensor], Tensor] = F.relu if config.activation == "relu" else torch.tanh

    def forward(self, characters: Tensor) -> Tensor:
        """Return the vectors of words, (U, F), from their characters (U, C)."""
        x = self.embedding(characters).transpose(1, 2)  # (U, char_embedding_dim, C)
        lengths = (characters != CHAR_PAD).sum(1)[:, None]  # (U, 1)
        pooled = []
        for convolution, (width, _) in zip(self.convolutions, self.filters, strict=True):
            y = convolution(x)  # (U, n, C - width + 1)
            if not self.reads_padding:
                positions = torch.arange(y.shape[2], device=y.device)
                inside = positions <= (lengths - width).clamp(min=0)  # (U, positions)
                y = y.masked_fill(~inside[:, None], float("-inf"))
            pooled.append(self.activation(y.amax(2)))
        out = torch.cat(pooled, 1)
        for highway in self.highways:
            out = highway(out)
        return out


class TokenEncoder(nn.Module):
    """The embedding layer: embedding table, char-CNN, or both concatenated, mapped to width P.

    Shapes: TokenBatch (B, T) -> (B, T, P) for the forward and for the backward direction; the same tensor
    twice without n-grams. With n-grams, each direction reads those that it has completely read:
        ahead_t = e_t + sum_n g(c_{t-n+1} .. c_t)
        back_t  = e_t + sum_n g(c_t .. c_{t+n-1})
    for n from 2 to max_ngram_length, where g is 0 after its first config.effective_ngram_dim columns. The
    linear map is omitted for a table of width P.
    """

    def __init__(self, config: BiLMConfig, vocab_size: int, n_characters: int):
        super().__init__()
        self.embedding: nn.Embedding | None = None
        self.char_cnn: CharCNN | None = None
        self.ngram_embedding: nn.Embedding | None = None
        self.scale = 1.0
        width = 0
        if config.token_encoder in ("embedding", "both"):
            self.embedding = nn.Embedding(vocab_size, config.effective_embedding_dim, padding_idx=PAD)
            # The LSTMs need inputs of unit variance, the softmax needs rows of unit norm. A tied table has
            # rows of unit norm, scaled by sqrt(P) as inputs (Vaswani et al. 2017, section 3.4). Without
            # this scaling, training is several times slower.
            self.scale = config.projection_dim**0.5 if config.tie_softmax else 1.0
            nn.init.normal_(self.embedding.weight, std=1 / self.scale)
            width += config.effective_embedding_dim
        if config.token_encoder in ("char_cnn", "both"):
            self.char_cnn = CharCNN(config, n_characters)
            width += self.char_cnn.width
        plain = config.token_encoder == "embedding" and width == config.projection_dim
        self.projection = nn.Identity() if plain else nn.Linear(width, config.projection_dim)
        if config.n_ngrams:
            self.ngram_embedding = nn.Embedding(
                1 + config.n_ngrams, config.effective_ngram_dim, padding_idx=0
            )
            nn.init.normal_(self.ngram_embedding.weight, std=NGRAM_STD)
            with torch.no_grad():
                self.ngram_embedding.weight[0].zero_()

    def forward(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """Return the input of the forward and of the backward direction, (B, T, P) each."""
        parts = []
        if self.embedding is not None:
            parts.append(self.embedding(batch.input_ids) * self.scale)
        if self.char_cnn is not None:
            assert batch.type_char_ids is not None
            assert batch.type_ids is not None
            parts.append(F.embedding(batch.type_ids, self.char_cnn(batch.type_char_ids)))
        x = self.projection(torch.cat(parts, -1) if len(parts) > 1 else parts[0])
        if self.ngram_embedding is None:
            return x, x
        assert batch.ngram_ids is not None
        if x.is_cuda:  # CUDA graphs need shapes that do not depend on the content of a batch
            return add_ngram_embeddings(x, self.ngram_embedding.weight, batch.ngram_ids)
        ahead, back = _NgramSums.apply(x, self.ngram_embedding.weight, batch.ngram_ids)
        return ahead, back


class _NgramSums(torch.autograd.Function):
    """`add_ngram_embeddings` with one gradient of the table for both directions and all lengths.

    Most units end no n-gram, so rows of 0 are skipped.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rows)
        ctx.table = table.shape
        return add_ngram_embeddings(x, table, rows)

    @staticmethod
    def backward(ctx: Any, d_ahead: Tensor, d_back: Tensor) -> tuple[Tensor, Tensor, None]:
        (rows,) = ctx.saved_tensors
        size, width = ctx.table
        d_table = d_ahead.new_zeros(size, width)
        for k, some in enumerate(rows.unbind(-1), 1):
            sentence, end = some.nonzero(as_tuple=True)
            found = d_ahead[sentence, end, :width] + d_back[sentence, end - k, :width]
            d_table.index_add_(0, some[sentence, end], found)
        return d_ahead + d_back, d_table, None


def add_ngram_embeddings(x: Tensor, table: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inputs of both directions: units plus the n-grams that end there, or that begin there.

    x: (B, T, P); table: (rows, W), W <= P, row 0 zero; rows: (B, T, max_ngram_length - 1), see TokenBatch.
    The vectors are added in this order, one by one, so that a sum has the same bits in every batch.
    """
    x, rest = x[..., : table.shape[1]], x[..., table.shape[1] :]
    ahead = back = x
    for k, some in enumerate(rows.unbind(-1), 1):  # of k + 1 units, so they begin k units before they end
        vectors = F.embedding(some, table, padding_idx=0)
        ahead = ahead + vectors
        back = back + F.pad(vectors, (0, 0, 0, k))[:, k:]
    return torch.cat([ahead, rest], -1), torch.cat([back, rest], -1)

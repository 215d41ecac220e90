"""Token encoders: what stands below the LSTMs. Units -> vectors of width P, independent of context."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import BiLMConfig
from .vocab import CHAR_PAD, PAD

NGRAM_STD = 0.3  # of the n-grams' vectors: a little beside the unit's own, whose variance is 1


@dataclass
class Batch:
    """Sentences as ids, boundaries included, padded on the right.

    units: (B, T) rows of the unit table, PAD behind a sentence's end.
    lengths: (B,) units of each sentence, its two boundaries included.
    forms: (B, T) rows of `characters`: each distinct word is spelled out once. None for table models.
    characters: (U, C) characters of each distinct word. None for table models.
    ngrams: (B, T, longest_ngram - 1) rows of the n-grams that end at each unit, of 2 units and so on; 0 where
        there is none. None for models without n-grams.
    """

    units: Tensor
    lengths: Tensor
    forms: Tensor | None = None
    characters: Tensor | None = None
    ngrams: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same on another device. To a GPU it is sent while this process goes on."""
        parts = list(vars(self).values())
        if device.type == "cuda":
            parts = [x if x is None or x.is_cuda else x.pin_memory() for x in parts]
        moved = (None if x is None else x.to(device, non_blocking=device.type == "cuda") for x in parts)
        return Batch(*moved)  # type: ignore[arg-type]


class Highway(nn.Module):
    """y = g * relu(W_t x + b_t) + (1 - g) * x with g = sigmoid(W_g x + b_g) (Srivastava et al. 2015).

    Shapes: (N, F) -> (N, F).
    """

    def __init__(self, width: int):
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)  # begin by carrying the input, as the paper advises

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x))
        return gate * F.relu(self.transform(x)) + (1 - gate) * x


class CharCNN(nn.Module):
    """A word from its characters: convolutions, maximum over positions, highways (Kim et al. 2016).

    Shapes: (U, C) character ids -> (U, F), F the sum of the filters. The padding takes no part: a
    position whose window reaches into it is left out of the maximum, unless the word is shorter than
    the window. With `config.char_padding` it is a character like others.
    """

    def __init__(self, config: BiLMConfig, n_characters: int):
        super().__init__()
        self.reads_padding = config.char_padding
        padding = None if self.reads_padding else CHAR_PAD
        self.table = nn.Embedding(n_characters, config.char_width, padding_idx=padding)
        self.filters = config.char_filters
        self.convolutions = nn.ModuleList(nn.Conv1d(config.char_width, n, w) for w, n in self.filters)
        self.width = sum(n for _, n in self.filters)
        self.highways = nn.ModuleList(Highway(self.width) for _ in range(config.n_highway))
        self.activation: Callable[[Tensor], Tensor] = F.relu if config.activation == "relu" else torch.tanh

    def forward(self, characters: Tensor) -> Tensor:
        x = self.table(characters).transpose(1, 2)  # (U, char_width, C)
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
    """The embedding layer: word table, char-CNN, or both side by side, mapped to width P.

    Shapes: Batch (B, T) -> (B, T, P) for the forward and for the backward direction, the same tensor twice
    without n-grams. With them a direction reads those that it has read to the end, n from 2 to longest_ngram:
        ahead_t = e_t + sum_n g(c_{t-n+1} .. c_t)
        back_t  = e_t + sum_n g(c_t .. c_{t+n-1})
    where g is 0 behind its first config.ngram_dim columns.
    The map is left out where a table already has width P.
    """

    def __init__(self, config: BiLMConfig, vocab_size: int, n_characters: int):
        super().__init__()
        self.table: nn.Embedding | None = None
        self.char_cnn: CharCNN | None = None
        self.ngrams: nn.Embedding | None = None
        self.scale = 1.0
        width = 0
        if config.encoder in ("table", "both"):
            self.table = nn.Embedding(vocab_size, config.table_dim, padding_idx=PAD)
            # The LSTMs want inputs of unit variance, the softmax rows of unit length. A tied table is both:
            # rows of unit length, scaled by sqrt(P) on the way in (Vaswani et al. 2017, section 3.4).
            # Without it, training is several times slower.
            self.scale = config.projection**0.5 if config.tied_softmax else 1.0
            nn.init.normal_(self.table.weight, std=1 / self.scale)
            width += config.table_dim
        if config.encoder in ("char_cnn", "both"):
            self.char_cnn = CharCNN(config, n_characters)
            width += self.char_cnn.width
        plain = config.encoder == "table" and width == config.projection
        self.project = nn.Identity() if plain else nn.Linear(width, config.projection)
        if config.ngrams:
            self.ngrams = nn.Embedding(1 + config.ngrams, config.ngram_dim, padding_idx=0)
            nn.init.normal_(self.ngrams.weight, std=NGRAM_STD)
            with torch.no_grad():
                self.ngrams.weight[0].zero_()

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        parts = []
        if self.table is not None:
            parts.append(self.table(batch.units) * self.scale)
        if self.char_cnn is not None:
            assert batch.characters is not None
            assert batch.forms is not None
            parts.append(F.embedding(batch.forms, self.char_cnn(batch.characters)))
        x = self.project(torch.cat(parts, -1) if len(parts) > 1 else parts[0])
        if self.ngrams is None:
            return x, x
        assert batch.ngrams is not None
        return add_ngrams(x, self.ngrams.weight, batch.ngrams)


def add_ngrams(x: Tensor, table: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What each direction reads: units with the n-grams that end there, and with those that begin there.

    x: (B, T, P); table: (rows, W), W <= P, row 0 zero; rows: (B, T, longest_ngram - 1), see Batch. In this
    order, one by one: a unit's sum has the same bits in every batch.
    """
    x, rest = x[..., : table.shape[1]], x[..., table.shape[1] :]
    ahead = back = x
    for k, some in enumerate(rows.unbind(-1), 1):  # of k + 1 units, so they begin k units before they end
        vectors = F.embedding(some, table, padding_idx=0)
        ahead = ahead + vectors
        back = back + F.pad(vectors, (0, 0, 0, k))[:, k:]
    return torch.cat([ahead, rest], -1), torch.cat([back, rest], -1)

"""BiLM: two language models over the same units, one for each direction. Units -> layers (L, D)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from . import folder
from .atomic import PathLike
from .config import BiLMConfig, ConfigError
from .embed import Batch, TokenEncoder
from .lstm import Direction
from .precision import Precision
from .runtime import encode
from .vocab import Vocab


class BiLM(nn.Module):
    """The bidirectional language model of ELMo (Peters et al. 2018, section 3).

    Below, one token encoder for both directions; above it two separate LSTM stacks, the backward one
    over the reversed sentence; a softmax over the units is shared by both (its weights are the unit
    table's where `config.tied_softmax`).

    config: sizes and switches.
    vocab: units, and characters where the encoder needs them.
    The weights are random, drawn from torch's generator; `store.load` gives trained ones.
    """

    def __init__(self, config: BiLMConfig, vocab: Vocab):
        super().__init__()
        if config.encoder != "table" and not vocab.characters:
            raise ConfigError(f'encoder = "{config.encoder}" needs a vocabulary of characters: give it one.')
        self.config = config
        self.vocab = vocab
        self.encoder = TokenEncoder(config, len(vocab), vocab.n_characters)
        self.forward_direction = Direction(config)
        self.backward_direction = Direction(config)
        self.softmax_bias = nn.Parameter(torch.zeros(len(vocab)))
        self.untied_softmax_weight: nn.Parameter | None = None
        if not config.tied_softmax:
            self.untied_softmax_weight = nn.Parameter(torch.empty(len(vocab), config.projection))
            nn.init.normal_(self.untied_softmax_weight, std=config.projection**-0.5)

    @property
    def n_layers(self) -> int:
        """L: the embedding layer and the LSTM layers."""
        return self.config.n_layers + 1

    @property
    def width(self) -> int:
        """D: width of a layer, 2P."""
        return self.config.width

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.softmax_bias.device

    @property
    def softmax_weight(self) -> Tensor:
        """(V, P), of both directions."""
        if self.untied_softmax_weight is not None:
            return self.untied_softmax_weight
        assert self.encoder.table is not None
        return self.encoder.table.weight

    def forward(self, batch: Batch) -> Tensor:
        """The layers of every unit, boundaries included: (L, B, T, D).

        Layer 0 is [embedding; embedding], layer j is [forward_j; backward_j]. What stands behind a
        sentence's end is undefined.
        """
        embedded = self.encoder(batch)  # (B, T, P)
        forwards = self.forward_direction(embedded)
        backwards = self.backward_direction(reverse(embedded, batch.lengths))
        layers = [torch.cat([embedded, embedded], -1)]
        for ahead, back in zip(forwards, backwards, strict=True):
            layers.append(torch.cat([ahead, reverse(back, batch.lengths)], -1))
        return torch.stack(layers)

    def encode(
        self,
        sentences: Sequence[Sequence[str]],
        *,
        batch_tokens: int = 4096,
        precision: Precision = "f32",
    ) -> list[np.ndarray]:
        """The layers of sentences that are lists of units: one (L, n, D) float32 array each.

        Boundaries are added and dropped again. The vectors of a sentence do not depend on the others; on a
        CPU they are the same to the last bit whatever else is computed with them.
        batch_tokens: units that are computed at once, each sentence counted as long as the longest.
        precision: of the products; "bf16" is faster where the processor has it, "auto" takes it there.
        """
        return encode(self, sentences, batch_tokens=batch_tokens, precision=precision)

    def save(self, path: PathLike, *, dtype: torch.dtype | None = None) -> None:
        """Write a model folder: complete beside its place first, then moved there in one step.

        dtype: of the weights on disk (torch.float16 halves them); None: as they are. A folder that holds
        something other than a model is left alone.
        """
        folder.write(path, self.config, self.vocab, self.state_dict(), dtype=dtype)


def reverse(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each sentence within its own length; the padding stays where it is.

    x: (B, T, ...); lengths: (B,). Its own inverse.
    """
    steps = torch.arange(x.shape[1], device=x.device)[None]  # (1, T)
    last = lengths[:, None] - 1
    index = torch.where(steps <= last, last - steps, steps)  # (B, T)
    return x[torch.arange(x.shape[0], device=x.device)[:, None], index]

"""BiLM: two language models over the same units, one for each direction. Units -> layers (L, D)."""

import torch
from torch import Tensor, nn

from ..atomic_io import PathLike
from ..errors import ElmoError
from . import serialization
from .bidirectional import StackedBiLSTM
from .config import BiLMConfig, ConfigError
from .lstm import LSTMStack, reverse_padded
from .token_encoder import TokenBatch, TokenEncoder
from .vocab import CHAR_SPECIALS, Vocab


class BiLMNetwork(nn.Module):
    """The bidirectional language model of ELMo (Peters et al. 2018, section 3).

    Below, one token encoder for both directions; above it two separate LSTM stacks, the backward one
    over the reversed sentence; a softmax over the units is shared by both (its weights are the unit
    table's where `config.tie_softmax`).

    config: sizes and switches.
    vocab: units, and characters where the encoder needs them.
    The weights are random, drawn from torch's generator; `store.load` gives trained ones.
    """

    def __init__(self, config: BiLMConfig, vocab: Vocab):
        super().__init__()
        if vocab.uses_bytes != (config.char_input == "utf8"):
            raise ConfigError(f'char_input = "{config.char_input}" does not match the vocabulary.')
        if config.token_encoder != "embedding" and vocab.n_characters == len(CHAR_SPECIALS):
            raise ConfigError(
                f'token_encoder = "{config.token_encoder}" needs a vocabulary with characters: give one.'
            )
        for name, listed in (("n_ngrams", vocab.ngrams), ("n_static_vectors", vocab.static)):
            if len(listed) != getattr(config, name):
                raise ConfigError(
                    f"{name} = {getattr(config, name)}, but the vocabulary lists {len(listed)}."
                )
        self.config = config
        self.vocab = vocab
        self.token_encoder = TokenEncoder(config, len(vocab), vocab.n_characters)
        if config.stacked_bidirectional:
            self.stacked_bilstm = StackedBiLSTM(config)
        else:
            self.forward_lm = LSTMStack(config)
            self.backward_lm = LSTMStack(config)
        # No parameter: it is counted, not trained (pretraining.static).
        table = torch.zeros(config.n_static_vectors, config.static_dim) if config.n_static_vectors else None
        self.static_vectors: Tensor | None
        self.register_buffer("static_vectors", table)
        predicted = len(vocab) if config.has_softmax else 0
        self.softmax_bias = nn.Parameter(torch.zeros(predicted))
        self.untied_softmax_weight: nn.Parameter | None = None
        if not config.tie_softmax:
            self.untied_softmax_weight = nn.Parameter(torch.empty(predicted, config.projection_dim))
            nn.init.normal_(self.untied_softmax_weight, std=config.projection_dim**-0.5)

    @property
    def n_layers(self) -> int:
        """L, see BiLMConfig.total_layers."""
        return self.config.total_layers

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
        """(V, P), of both directions. Raises an ElmoError for a model without a softmax."""
        if not self.config.has_softmax:
            raise ElmoError("This model has no softmax: it can encode, but not be trained or evaluated.")
        if self.untied_softmax_weight is not None:
            return self.untied_softmax_weight
        assert self.token_encoder.embedding is not None
        return self.token_encoder.embedding.weight

    def forward(self, batch: TokenBatch, *, dtype: torch.dtype | None = None) -> Tensor:
        """The layers of every unit, boundaries included: (L, B, T, D) float32.

        dtype: of the LSTMs' products; None: that of the weights. Joined layers have none but that.

        Layer 0 is [embedding; embedding], with n-grams of each direction's own; layer j is [forward_j;
        backward_j]; of joined layers, layer 1 is the last. What stands behind a sentence's end is undefined.
        """
        ahead, back = self.token_encoder(batch)  # (B, T, P)
        layers = [torch.cat([ahead, back], -1)]
        if self.config.stacked_bidirectional:
            return torch.stack([*layers, self.stacked_bilstm(ahead, batch.lengths)])
        forwards = self.forward_lm(ahead, dtype=dtype)
        backwards = self.backward_lm(reverse_padded(back, batch.lengths), dtype=dtype)
        for ahead, back in zip(forwards, backwards, strict=True):
            layers.append(torch.cat([ahead, reverse_padded(back, batch.lengths)], -1).float())
        return torch.stack(layers)

    def save(self, path: PathLike, *, dtype: torch.dtype | None = None) -> None:
        """Write a model folder: complete beside its place first, then moved there in one step.

        dtype: of the weights on disk (torch.float16 halves them); None: as they are. A folder that holds
        something other than a model is left alone.
        """
        serialization.write(path, self.config, self.vocab, self.state_dict(), dtype=dtype)

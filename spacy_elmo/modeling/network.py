"""Define the network of a biLM: one language model for each direction. Units -> layers (L, B, T, D)."""

import torch
from torch import Tensor, nn

from ..atomic_io import PathLike
from ..errors import ConfigError, ElmoError
from . import serialization
from .bidirectional import StackedBiLSTM
from .config import BiLMConfig
from .lstm import LSTMStack, reverse_padded
from .quantization import StoredType
from .token_encoder import TokenBatch, TokenEncoder
from .vocab import CHAR_SPECIALS, Vocab


class BiLMNetwork(nn.Module):
    """The bidirectional language model of ELMo (Peters et al. 2018, section 3).

    Both directions share one token encoder below and one softmax above. Between them are two separate LSTM
    stacks; the backward one reads the reversed sentence. With `config.tie_softmax`, the softmax shares its
    weights with the embedding table. The weights are random, from torch's generator; inference.loading.load
    reads trained ones.

    Args:
        config: Sizes and switches.
        vocab: Units, and characters if the encoder needs them.

    Raises:
        ConfigError: The vocabulary does not fit the configuration.
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
        # A buffer: static vectors are counted, not trained (pretraining.init.cooccurrence).
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
        """Device of the weights."""
        return self.softmax_bias.device

    @property
    def softmax_weight(self) -> Tensor:
        """(V, P), shared by both directions. Raises an ElmoError for a model without a softmax."""
        if not self.config.has_softmax:
            raise ElmoError("This model has no softmax: it can encode, but not be trained or evaluated.")
        if self.untied_softmax_weight is not None:
            return self.untied_softmax_weight
        assert self.token_encoder.embedding is not None
        return self.token_encoder.embedding.weight

    def forward(self, batch: TokenBatch, *, dtype: torch.dtype | None = None) -> Tensor:
        """Return the layers of every unit, boundaries included: (L, B, T, D) float32.

        Layer 0 is [embedding; embedding], each with the n-grams of its direction. Layer j is [forward_j;
        backward_j]; with stacked_bidirectional, layer 1 is the last one. Values after the end of a sentence
        are undefined.

        Args:
            batch: Sentences as ids.
            dtype: Type of the LSTMs' products; None: that of the weights. Ignored with stacked_bidirectional.
        """
        ahead, back = self.token_encoder(batch)  # (B, T, P)
        layers = [torch.cat([ahead, back], -1)]
        if self.config.stacked_bidirectional:
            return torch.stack([*layers, self.stacked_bilstm(ahead, batch.lengths)])
        lengths = batch.lengths  # the native kernel computes no padding
        forwards = self.forward_lm(ahead, dtype=dtype, lengths=lengths)
        backwards = self.backward_lm(reverse_padded(back, lengths), dtype=dtype, lengths=lengths)
        for ahead, back in zip(forwards, backwards, strict=True):
            layers.append(torch.cat([ahead, reverse_padded(back, lengths)], -1).float())
        return torch.stack(layers)

    def save(self, path: PathLike, *, dtype: StoredType = None) -> None:
        """Write a model folder under a temporary name, and rename it when it is complete.

        Args:
            path: The folder. A folder that holds anything but a model is not replaced.
            dtype: Type of the weights on disk (torch.float16 halves them); "smallest": the smallest types
                that hold the same bits; None: unchanged.

        Raises:
            OutputError: The folder cannot be written or replaced.
        """
        serialization.write(path, self.config, self.vocab, self.state_dict(), dtype=dtype)

"""BiLM: two language models over the same units, one for each direction. Units -> layers (L, D)."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import folder
from .atomic import PathLike
from .config import BiLMConfig, ConfigError
from .embed import TokenBatch, TokenEncoder
from .errors import ElmoError
from .joined import StackedBiLSTM
from .locks import ForkSafeLock
from .lstm import LSTMStack, reverse_padded
from .precision import Precision
from .runtime import encode
from .stateful import LSTMStates, encode_stateful
from .static import StaticVectors
from .vocab import CHAR_SPECIALS, Vocab


class BiLM(nn.Module):
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
            raise ConfigError(f'char_input = "{config.char_input}" is not that of the vocabulary.')
        if config.token_encoder != "embedding" and vocab.n_characters == len(CHAR_SPECIALS):
            raise ConfigError(
                f'token_encoder = "{config.token_encoder}" needs a vocabulary of characters: give it one.'
            )
        for name, listed in (("n_ngrams", vocab.ngrams), ("n_static_vectors", vocab.static)):
            if len(listed) != getattr(config, name):
                raise ConfigError(f"{name} = {getattr(config, name)}, but the vocabulary has {len(listed)}.")
        self.config = config
        self.vocab = vocab
        self.token_encoder = TokenEncoder(config, len(vocab), vocab.n_characters)
        if config.stacked_bidirectional:
            self.stacked_bilstm = StackedBiLSTM(config)
        else:
            self.forward_lm = LSTMStack(config)
            self.backward_lm = LSTMStack(config)
        self._states = LSTMStates()
        # No parameter: it is counted, not trained (pretraining.static).
        table = torch.zeros(config.n_static_vectors, config.static_dim) if config.n_static_vectors else None
        self.static_vectors: Tensor | None
        self.register_buffer("static_vectors", table)
        self._static: tuple[Tensor, StaticVectors] | None = None  # made when first needed
        self._static_lock = ForkSafeLock()
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
            raise ElmoError("This model has no softmax: it gives vectors, but no perplexity and no training.")
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

    def encode(
        self,
        sentences: Sequence[Sequence[str]],
        *,
        batch_tokens: int = 8192,
        precision: Precision = "f32",
        stateful: bool = False,
        out: Sequence[np.ndarray | None] | None = None,
    ) -> list[np.ndarray]:
        """The layers of sentences that are lists of units: one (L, n, D) float32 array each.

        Boundaries are added and dropped again. The vectors of a sentence do not depend on the others; on a
        CPU they are the same to the last bit whatever else is computed with them.
        batch_tokens: units that are computed at once, each sentence counted as long as the longest.
        precision: of the products; "bf16" is faster where the processor has it, "int16" on most others, and
        "auto" takes the fastest. Layers of both are rounded to half precision, so that they can be kept as
        float16 without loss.
        stateful: only to match old vectors, in float32. The sentences are one batch, and the LSTMs go on in
        each row from where the last stateful batch left it, so the same sentence gets other vectors each
        time; `reset_states()` starts anew.
        out: unless stateful, where the layers of each sentence go: such an array, each layer in one piece,
        or None for a new one.
        """
        if stateful:
            if out is not None:
                raise ElmoError("stateful=True makes arrays of its own: leave out=... out.")
            return encode_stateful(self, sentences, self._states)
        return encode(self, sentences, batch_tokens=batch_tokens, precision=precision, out=out)

    def static_vectors_of(
        self, tokens: Sequence[Hashable], *, to_string: Callable[[Any], str] | None = None
    ) -> np.ndarray:
        """Vectors of tokens by themselves, whatever stands around them: (n, S) float32, see bilm.static.

        S is config.static_dim, or 0 for a model without such vectors. tokens: strings, or numbers for which
        `to_string` knows the strings, the same number for the same string each time; it is called for new
        ones.
        """
        if self.static_vectors is None:
            return np.zeros((len(tokens), 0), dtype=np.float32)
        with self._static_lock:
            if self._static is None or self._static[0] is not self.static_vectors:
                table = self.static_vectors.cpu().numpy()
                looked_up = StaticVectors(
                    self.vocab.static,
                    table,
                    fold_fullwidth=self.config.fold_fullwidth,
                    allow_single_letters=self.config.units == "char",
                )
                self._static = self.static_vectors, looked_up
            static = self._static[1]
        return static.look_up(tokens, to_string)

    def save(self, path: PathLike, *, dtype: torch.dtype | None = None) -> None:
        """Write a model folder: complete beside its place first, then moved there in one step.

        dtype: of the weights on disk (torch.float16 halves them); None: as they are. A folder that holds
        something other than a model is left alone.
        """
        folder.write(path, self.config, self.vocab, self.state_dict(), dtype=dtype)

"""BiLM: two language models over the same units, one for each direction. Units -> layers (L, D)."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import folder
from .atomic import PathLike
from .config import BiLMConfig, ConfigError
from .embed import Batch, TokenEncoder
from .errors import ElmoError
from .joined import JoinedDirections
from .locks import ForkSafeLock
from .lstm import Direction, reverse
from .precision import Precision
from .runtime import encode
from .stateful import Carried, encode_stateful
from .static import StaticVectors
from .vocab import CHAR_SPECIALS, Vocab


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
        if vocab.in_bytes != (config.spelling == "byte"):
            raise ConfigError(f'spelling = "{config.spelling}" is not that of the vocabulary.')
        if config.encoder != "table" and vocab.n_characters == len(CHAR_SPECIALS):
            raise ConfigError(f'encoder = "{config.encoder}" needs a vocabulary of characters: give it one.')
        for name, listed in (("ngrams", vocab.ngrams), ("static_rows", vocab.static)):
            if len(listed) != getattr(config, name):
                raise ConfigError(f"{name} = {getattr(config, name)}, but the vocabulary has {len(listed)}.")
        self.config = config
        self.vocab = vocab
        self.encoder = TokenEncoder(config, len(vocab), vocab.n_characters)
        if config.joined:
            self.joined_directions = JoinedDirections(config)
        else:
            self.forward_direction = Direction(config)
            self.backward_direction = Direction(config)
        self.carried = Carried()
        # No parameter: it is counted, not trained (pretraining.static).
        table = torch.zeros(config.static_rows, config.static_width) if config.static_rows else None
        self.static_vectors: Tensor | None
        self.register_buffer("static_vectors", table)
        self._static: tuple[Tensor, StaticVectors] | None = None  # made when first needed
        self._static_lock = ForkSafeLock()
        predicted = len(vocab) if config.softmax else 0
        self.softmax_bias = nn.Parameter(torch.zeros(predicted))
        self.untied_softmax_weight: nn.Parameter | None = None
        if not config.tied_softmax:
            self.untied_softmax_weight = nn.Parameter(torch.empty(predicted, config.projection))
            nn.init.normal_(self.untied_softmax_weight, std=config.projection**-0.5)

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
        if not self.config.softmax:
            raise ElmoError("This model has no softmax: it gives vectors, but no perplexity and no training.")
        if self.untied_softmax_weight is not None:
            return self.untied_softmax_weight
        assert self.encoder.table is not None
        return self.encoder.table.weight

    def forward(self, batch: Batch, *, dtype: torch.dtype | None = None) -> Tensor:
        """The layers of every unit, boundaries included: (L, B, T, D) float32.

        dtype: of the LSTMs' products; None: that of the weights. Joined layers have none but that.

        Layer 0 is [embedding; embedding], with n-grams of each direction's own; layer j is [forward_j;
        backward_j]; of joined layers, layer 1 is the last. What stands behind a sentence's end is undefined.
        """
        ahead, back = self.encoder(batch)  # (B, T, P)
        layers = [torch.cat([ahead, back], -1)]
        if self.config.joined:
            return torch.stack([*layers, self.joined_directions(ahead, batch.lengths)])
        forwards = self.forward_direction(ahead, dtype=dtype)
        backwards = self.backward_direction(reverse(back, batch.lengths), dtype=dtype)
        for ahead, back in zip(forwards, backwards, strict=True):
            layers.append(torch.cat([ahead, reverse(back, batch.lengths)], -1).float())
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
        time; `carried.forget()` starts anew.
        out: unless stateful, where the layers of each sentence go: such an array, each layer in one piece,
        or None for a new one.
        """
        if stateful:
            if out is not None:
                raise ElmoError("stateful=True makes arrays of its own: leave out=... out.")
            return encode_stateful(self, sentences, self.carried)
        return encode(self, sentences, batch_tokens=batch_tokens, precision=precision, out=out)

    def static(
        self, tokens: Sequence[Hashable], *, spelled: Callable[[Any], str] | None = None
    ) -> np.ndarray:
        """Vectors of tokens by themselves, whatever stands around them: (n, S) float32, see bilm.static.

        S is config.static_width, or 0 for a model without such vectors. tokens: strings, or numbers for which
        `spelled` knows the strings, the same number for the same string each time; it is called for new ones.
        """
        if self.static_vectors is None:
            return np.zeros((len(tokens), 0), dtype=np.float32)
        with self._static_lock:
            if self._static is None or self._static[0] is not self.static_vectors:
                table = self.static_vectors.cpu().numpy()
                looked_up = StaticVectors(
                    self.vocab.static,
                    table,
                    normalized=self.config.normalize,
                    letters=self.config.units == "char",
                )
                self._static = self.static_vectors, looked_up
            static = self._static[1]
        return static.look_up(tokens, spelled)

    def save(self, path: PathLike, *, dtype: torch.dtype | None = None) -> None:
        """Write a model folder: complete beside its place first, then moved there in one step.

        dtype: of the weights on disk (torch.float16 halves them); None: as they are. A folder that holds
        something other than a model is left alone.
        """
        folder.write(path, self.config, self.vocab, self.state_dict(), dtype=dtype)

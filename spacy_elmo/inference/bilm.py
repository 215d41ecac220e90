"""BiLM: the network with its way from sentences to layers. What users hold."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import ElmoError
from ..kernels.precision import Precision
from ..locks import ForkSafeLock
from ..modeling.config import BiLMConfig
from ..modeling.network import BiLMNetwork
from ..modeling.static_vectors import StaticVectors
from ..modeling.vocab import Vocab
from .encode import encode
from .stateful import LSTMStates, encode_stateful


class BiLM(BiLMNetwork):
    """A biLM that encodes sentences: see BiLMNetwork for what it is, `encode` for what it gives."""

    def __init__(self, config: BiLMConfig, vocab: Vocab):
        super().__init__(config, vocab)
        self._states = LSTMStates()
        self._static: tuple[Tensor, StaticVectors] | None = None  # made when first needed
        self._static_lock = ForkSafeLock()

    def reset_states(self) -> None:
        """Let the next stateful batch begin from zero states."""
        self._states.reset()

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
                raise ElmoError("stateful=True allocates its own arrays: omit the argument out.")
            return encode_stateful(self, sentences, self._states)
        return encode(self, sentences, batch_tokens=batch_tokens, precision=precision, out=out)

    def static_vectors_of(
        self, tokens: Sequence[Hashable], *, to_string: Callable[[Any], str] | None = None
    ) -> np.ndarray:
        """Vectors of tokens by themselves, whatever stands around them: (n, S) float32, see
        modeling.static_vectors.

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
                    simplified=self.config.simplify,
                    allow_single_letters=self.config.units == "char",
                )
                self._static = self.static_vectors, looked_up
            static = self._static[1]
        return static.look_up(tokens, to_string)

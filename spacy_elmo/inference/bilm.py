"""Define BiLM, the network together with inference: the public class for models."""

from collections.abc import Callable, Collection, Hashable, Sequence
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
    """A biLM that encodes sentences. BiLMNetwork describes the network.

    Args:
        config: Sizes and switches.
        vocab: Units, and characters if the encoder needs them.
    """

    def __init__(self, config: BiLMConfig, vocab: Vocab):
        super().__init__(config, vocab)
        self._states = LSTMStates()
        self._static: tuple[Tensor, StaticVectors] | None = None  # made when first needed
        self._static_lock = ForkSafeLock()

    def reset_states(self) -> None:
        """Start the next stateful batch from zero states."""
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
        """Compute the layers of sentences, which are lists of units.

        Sentence boundaries are added for the computation and removed from the result. The vectors of a
        sentence do not depend on the other sentences; on a CPU they have the same bits in every batch.

        Args:
            sentences: Lists of units: words, or characters for a model of characters.
            batch_tokens: Units to compute together, where each sentence counts as long as the longest.
            precision: Type of the products: "f32", "bf16" (faster if the processor supports it), "int16"
                (faster on most other processors), or "auto" (the fastest). With bf16 and int16 the layers are
                rounded to fp16, so that storing them as float16 is lossless.
            stateful: Continue from the LSTM states of the previous stateful batch, row by row, in float32.
                Use it only to reproduce old vectors: the same sentence gets other vectors each time.
                `reset_states()` clears the states. The sentences are one batch.
            out: Arrays to write the layers into, unless stateful: for each sentence a float32 array of its
                result's shape with contiguous layers, or None for a new array.

        Returns:
            A float32 array (L, n, D) for each sentence.

        Raises:
            ElmoError: A sentence is not a list of strings, the precision is not known, `out` does not fit,
                or the model cannot be stateful.
        """
        if isinstance(sentences, str):
            raise ElmoError("sentences is a string: give a list of sentences, each a list of units.")
        for i, sentence in enumerate(sentences):
            if not (isinstance(sentence, Collection) and all(isinstance(unit, str) for unit in sentence)):
                raise ElmoError(f"sentences[{i}] is not a list of strings: give the units of each sentence.")
        if stateful:
            if out is not None:
                raise ElmoError("stateful=True allocates its own arrays: omit the argument out.")
            return encode_stateful(self, sentences, self._states)
        return encode(self, sentences, batch_tokens=batch_tokens, precision=precision, out=out)

    def static_vectors_of(
        self, tokens: Sequence[Hashable], *, to_string: Callable[[Any], str] | None = None
    ) -> np.ndarray:
        """Return the static vectors of tokens, which do not depend on the context.

        See modeling.static_vectors.

        Args:
            tokens: Strings, or numbers that identify strings.
            to_string: Function that returns the string of such a number. It is called only for new numbers,
                and a number must always mean the same string.

        Returns:
            (n, S) float32. S is config.static_dim, or 0 for a model without static vectors.
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

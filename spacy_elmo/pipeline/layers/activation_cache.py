"""Cache activations of the frozen biLM across the epochs of a component's training, and across trainings.

Every epoch has the same sentences, so nothing is left to compute from the second epoch on, nor from the third
evaluation on. Sentences of ordinary predictions are not cached, and many of them end the cache. Sentences are
admitted until the byte budget is spent and never evicted: an epoch visits all of them in a new order, where a
least-recently-used cache would evict those that come next.

With bf16 or int16 products, the biLM already rounds its outputs to fp16, so storing fp16 is lossless and
results do not depend on the cache. Outputs of f32 products are stored unchanged.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from ...locks import ForkSafeLock

LARGEST = torch.finfo(torch.float16).max

Sentence = Sequence[str]
PATIENCE = 2**17  # predicted units without an update after which the training counts as over
Encode = Callable[[Sequence[Sentence]], list[np.ndarray]]


class VectorStore(Protocol):
    """Store of arrays (L, n, D), by the sentence_key of their sentence."""

    used: int
    """Bytes of the stored vectors."""

    def __len__(self) -> int: ...
    def get(self, key: bytes) -> np.ndarray | None:
        """Return the array of a key, or None."""
        ...

    def put(self, key: bytes, layers: np.ndarray) -> None:
        """Store an array."""
        ...

    def close(self) -> None:
        """Release all resources."""
        ...


class InMemoryStore:
    """VectorStore in memory, which ends with the process."""

    def __init__(self) -> None:
        self.used = 0
        self._layers: dict[bytes, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._layers)

    def get(self, key: bytes) -> np.ndarray | None:
        """Return the array of a key, or None."""
        return self._layers.get(key)

    def put(self, key: bytes, layers: np.ndarray) -> None:
        """Store an array, unless another thread has stored it."""
        if self._layers.setdefault(key, layers) is layers:
            self.used += layers.nbytes

    def close(self) -> None:
        """Drop all arrays."""
        self._layers = {}


class ActivationCache:
    """Thread-safe cache of the layers of sentences, by their units.

    Args:
        budget: Largest number of bytes; a unit takes 4 * L * D, with `half` 2 * L * D.
        half: Store float16; only for layers that are rounded to it.
        store: Where to store arrays; None: in memory.
        patience: Units that may be predicted after an update before `is_over`.
    """

    def __init__(
        self, budget: int, *, half: bool = False, store: VectorStore | None = None, patience: int = PATIENCE
    ):
        self.budget = budget
        self.patience = patience
        self._predicted = 0  # units since the last update
        self._evaluating: set[bytes] = set()  # keys of sentences predicted since the last update
        self._evaluated: set[bytes] = set()  # keys of sentences predicted between the two updates before it
        self.half = half
        self._lock = ForkSafeLock()
        self.store: VectorStore = InMemoryStore() if store is None else store

    def close(self) -> None:
        """Close the store. Threads that still use the cache find nothing in it."""
        self.store.close()

    @property
    def is_over(self) -> bool:
        """Whether so much was predicted since the last update that the training must have ended."""
        return self._predicted > self.patience

    def encode(
        self, encode: Encode, sentences: Sequence[Sentence], *, is_train: bool = True
    ) -> list[np.ndarray]:
        """Return what `encode` returns for `sentences`, (L, n, D) float32 each.

        It is called only for sentences that are not cached. is_train: False: a prediction, whose sentences
        are cached only if the previous evaluation had them too.
        """
        keys = [sentence_key(sentence) for sentence in sentences]
        self._count(keys, sentences, is_train)
        found: dict[bytes, np.ndarray] = {}
        missing: dict[bytes, Sentence] = {}
        for key, sentence in zip(keys, sentences, strict=True):
            cached = self.store.get(key)
            if cached is None:
                missing[key] = sentence
            else:
                found[key] = torch.from_numpy(cached).float().numpy() if self.half else cached.copy()
        for key, layers in zip(missing, encode(list(missing.values())), strict=True):
            found[key] = layers
            cached = self._compress(layers)
            if cached is None:
                continue
            with self._lock:
                admitted = is_train or key in self._evaluated
                if admitted and self.store.used + cached.nbytes <= self.budget:
                    self.store.put(key, cached)
        return [found[key] for key in keys]

    def _count(self, keys: Sequence[bytes], sentences: Sequence[Sentence], is_train: bool) -> None:
        with self._lock:
            if not is_train:
                self._predicted += sum(map(len, sentences))
                self._evaluating.update(keys)
            elif self._predicted:
                self._evaluated, self._evaluating = self._evaluating, set()
                self._predicted = 0

    def _compress(self, layers: np.ndarray) -> np.ndarray | None:
        """Return a copy to store, or None if float16 cannot hold a value."""
        if not self.half:
            return layers.copy()
        exact = torch.from_numpy(layers)
        if layers.size:
            low, high = (
                exact.aminmax()
            )  # NaN if any value is NaN; eight times as fast as isfinite() of float16
            if not (low >= -LARGEST and high <= LARGEST):
                return None
        return exact.half().numpy()  # twenty times as fast as NumPy


def sentence_key(sentence: Sentence) -> bytes:
    """Return 16 bytes that identify a sentence."""
    text = "\0".join([*sentence, *(str(len(unit)) for unit in sentence)])
    return hashlib.blake2b(text.encode("utf8", "surrogatepass"), digest_size=16).digest()

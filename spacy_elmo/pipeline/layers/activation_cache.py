"""Activations of the frozen biLM across the epochs of a task's training, and across trainings.

The biLM is frozen and every epoch brings the same sentences, so from the second epoch on there is nothing
left to compute, nor from the third evaluation on. A pipeline that goes on to predict other texts does not
keep these, and many of them end the cache. Sentences are admitted until the byte budget is spent and never
evicted: an epoch visits them all in a new order, where least-recently-used would throw away what comes next.

Layers of products in bf16 are rounded to half precision by the biLM, and so lose nothing when they are kept
as such: no result depends on what is kept, nor where. Those of products in f32 are kept as they are.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from ...locks import ForkSafeLock

LARGEST = torch.finfo(torch.float16).max

Sentence = Sequence[str]
PATIENCE = 2**17  # units that are predicted without an update in between until the training counts as over
Encode = Callable[[Sequence[Sentence]], list[np.ndarray]]


class VectorStore(Protocol):
    """Where vectors are kept: arrays (L, n, D), by sentence_key their sentence."""

    used: int
    """Bytes of vectors."""

    def __len__(self) -> int: ...
    def get(self, key: bytes) -> np.ndarray | None: ...
    def put(self, key: bytes, layers: np.ndarray) -> None: ...
    def close(self) -> None: ...


class InMemoryStore:
    """In memory, as long as the process lives. See VectorStore."""

    def __init__(self) -> None:
        self.used = 0
        self._layers: dict[bytes, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._layers)

    def get(self, key: bytes) -> np.ndarray | None:
        """What was put there."""
        return self._layers.get(key)

    def put(self, key: bytes, layers: np.ndarray) -> None:
        """Keep it, unless another thread has put it there."""
        if self._layers.setdefault(key, layers) is layers:
            self.used += layers.nbytes

    def close(self) -> None:
        """Let go of everything."""
        self._layers = {}


class ActivationCache:
    """Layers of sentences, by their units. Safe for threads.

    budget: bytes of vectors to keep at most; a unit takes 4 * L * D, with `half` 2 * L * D.
    half: keep float16; only of layers that are rounded to it. store: where; None: in memory.
    patience: units that may be predicted after an update before `is_over`.
    """

    def __init__(
        self, budget: int, *, half: bool = False, store: VectorStore | None = None, patience: int = PATIENCE
    ):
        self.budget = budget
        self.patience = patience
        self._predicted = 0  # units since the last update
        self._evaluating: set[bytes] = set()  # keys of what was predicted since the last update
        self._evaluated: set[bytes] = set()  # keys of what was predicted between the two updates before it
        self.half = half
        self._lock = ForkSafeLock()
        self.store: VectorStore = InMemoryStore() if store is None else store

    def close(self) -> None:
        """End it: what it has open is closed. A thread that still uses it finds nothing there."""
        self.store.close()

    @property
    def is_over(self) -> bool:
        """Whether so much has been predicted since the last update that the training must have ended."""
        return self._predicted > self.patience

    def encode(
        self, encode: Encode, sentences: Sequence[Sentence], *, is_train: bool = True
    ) -> list[np.ndarray]:
        """What `encode` returns for `sentences`, (L, n, D) float32 each; it is called for those not kept.

        is_train: False: a prediction, whose sentences are kept only if the evaluation before had them, too.
        """
        keys = [sentence_key(sentence) for sentence in sentences]
        self._count(keys, sentences, is_train)
        found: dict[bytes, np.ndarray] = {}
        missing: dict[bytes, Sentence] = {}
        for key, sentence in zip(keys, sentences, strict=True):
            kept = self.store.get(key)
            if kept is None:
                missing[key] = sentence
            else:
                found[key] = torch.from_numpy(kept).float().numpy() if self.half else kept.copy()
        for key, layers in zip(missing, encode(list(missing.values())), strict=True):
            found[key] = layers
            kept = self._compress(layers)
            if kept is None:
                continue
            with self._lock:
                admitted = is_train or key in self._evaluated
                if admitted and self.store.used + kept.nbytes <= self.budget:
                    self.store.put(key, kept)
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
        """A copy, or None where float16 cannot hold a value."""
        if not self.half:
            return layers.copy()
        exact = torch.from_numpy(layers)
        if layers.size:
            low, high = exact.aminmax()  # a NaN is both; isfinite() of float16 takes eight times as long
            if not (low >= -LARGEST and high <= LARGEST):
                return None
        return exact.half().numpy()  # numpy takes twenty times as long


def sentence_key(sentence: Sentence) -> bytes:
    """16 bytes that tell a sentence from others."""
    text = "\0".join([*sentence, *(str(len(unit)) for unit in sentence)])
    return hashlib.blake2b(text.encode("utf8", "surrogatepass"), digest_size=16).digest()

"""Activations of the frozen biLM across the epochs of a task's training.

The biLM is frozen and every epoch brings the same sentences, so from the second epoch on there is nothing
left to compute. Sentences are admitted until the byte budget is spent and never evicted: an epoch visits
them all in a new order, where least-recently-used would throw away what comes next.
"""

from collections.abc import Callable, Sequence

import numpy as np

Sentence = Sequence[str]
Encode = Callable[[Sequence[Sentence]], list[np.ndarray]]


class ActivationCache:
    """Layers of sentences, by their units.

    budget: bytes of vectors to keep at most; a unit takes 4 * L * D.
    """

    def __init__(self, budget: int):
        self.budget = budget
        self.used = 0
        self._layers: dict[tuple[str, ...], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._layers)

    def encode(self, encode: Encode, sentences: Sequence[Sentence]) -> list[np.ndarray]:
        """What `encode` returns for `sentences`, (L, n, D) each; it is called for those not seen before."""
        keys = [tuple(sentence) for sentence in sentences]
        missing = list(dict.fromkeys(key for key in keys if key not in self._layers))
        fresh = dict(zip(missing, encode(missing), strict=True))
        for key, layers in fresh.items():
            if self.used + layers.nbytes <= self.budget:
                layers.flags.writeable = False  # it is handed out again
                self._layers[key] = layers
                self.used += layers.nbytes
        return [fresh[key] if key in fresh else self._layers[key] for key in keys]

"""Engines: a biLM made ready for inference. Made at the first call, and anew when its weights change."""

import threading
from collections.abc import Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from ..config import BiLMConfig
from ..embed import TokenEncoder
from ..lstm import Direction
from ..vocab import Vocab
from .cells import cells_of, switches_of
from .torch_route import TorchRoute
from .units import Units, units_of


class Network(Protocol):
    """What is read of a BiLM."""

    config: BiLMConfig
    vocab: Vocab
    encoder: TokenEncoder
    forward_direction: Direction
    backward_direction: Direction


class Route(Protocol):
    """Layers of packed batches; see TorchRoute.run."""

    name: str

    def run(
        self, vectors: Tensor, scale: float, ids: Sequence[np.ndarray], out: Sequence[np.ndarray]
    ) -> None: ...


class Engine:
    """A route, and the vectors of units below it, for one biLM in one precision."""

    def __init__(self, bilm: Network, dtype: torch.dtype):
        self._vocab = bilm.vocab
        self._state = _state(bilm)
        directions = (bilm.forward_direction, bilm.backward_direction)
        self.units: Units = units_of(bilm.encoder, bilm.vocab, bilm.config, dtype)
        self.route: Route = TorchRoute([cells_of(d) for d in directions], switches_of(directions[0]), dtype)

    def fits(self, bilm: Network) -> bool:
        """Whether the biLM still has the weights and the vocabulary that this was made of.

        Seen are new tensors, and all that torch counts as an operation in place: optimizers, copy_,
        load_state_dict. Not seen is what goes behind its back, `parameter.data.mul_(2)`.
        """
        now = _state(bilm)
        same = len(now) == len(self._state) and all(
            a is b and where == there and version == other
            for (a, where, version), (b, there, other) in zip(now, self._state, strict=True)
        )
        return same and bilm.vocab is self._vocab


_engines: WeakKeyDictionary[Network, dict[torch.dtype, Engine]] = WeakKeyDictionary()
_lock = threading.Lock()


def engine_of(bilm: Network, dtype: torch.dtype) -> Engine:
    """The engine of a biLM on the CPU. dtype: of the products, float32 or bfloat16."""
    with _lock:
        kept = _engines.setdefault(bilm, {})
        engine = kept.get(dtype)
        if engine is None or not engine.fits(bilm):
            engine = kept[dtype] = Engine(bilm, dtype)
        return engine


def _state(bilm: Network) -> list[tuple[Tensor, int, int]]:
    """What tells one state of the weights from another: each tensor, its place, its count of changes."""
    found: list[tuple[Tensor, int, int]] = []
    for part in (bilm.encoder, bilm.forward_direction, bilm.backward_direction):
        for module in part.modules():
            for p in module._parameters.values():  # named_parameters() takes ten times as long
                if p is not None:
                    found.append((p, p.data_ptr(), 0 if p.is_inference() else p._version))
    return found

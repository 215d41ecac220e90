"""Engines: a biLM made ready for inference. Made at the first call, and anew when its weights change."""

from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..config import BiLMConfig
from ..embed import TokenEncoder
from ..locks import ForkSafeLock
from ..lstm import Direction
from ..vocab import Vocab
from .binding import place_of
from .cells import cells_of, switches_of
from .routes import CUDA, Route, make_route, routes
from .units import Units, units_of


class Network(Protocol):
    """What is read of a BiLM."""

    config: BiLMConfig
    vocab: Vocab
    encoder: TokenEncoder
    forward_direction: Direction
    backward_direction: Direction

    @property
    def device(self) -> torch.device: ...


class Engine:
    """A route, and the vectors of units below it, for one biLM in one precision."""

    def __init__(self, bilm: Network, dtype: torch.dtype, route: str):
        self._vocab = bilm.vocab
        self._state = _state(bilm)
        directions = (bilm.forward_direction, bilm.backward_direction)
        spelling = torch.float32 if dtype == torch.int16 else dtype  # only the kernel multiplies int16
        self.units: Units = units_of(bilm.encoder, bilm.vocab, bilm.config, spelling)
        cells = [cells_of(direction) for direction in directions]
        self.route: Route = make_route(route, cells, switches_of(directions[0]), dtype)

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


_engines: WeakKeyDictionary[Network, dict[tuple[torch.dtype, str], Engine]] = WeakKeyDictionary()
_lock = ForkSafeLock()


def engine_of(bilm: Network, dtype: torch.dtype, route: str | None = None) -> Engine:
    """The engine of a biLM where it is: on the CPU, or on a GPU with Triton.

    dtype: of the products, float32, bfloat16 or int16. route: on the CPU one of routes(); None: the best.
    """
    key = (dtype, route or (routes()[0] if bilm.device.type == "cpu" else CUDA))
    with _lock:
        kept = _engines.setdefault(bilm, {})
        engine = kept.get(key)
        if engine is None or not engine.fits(bilm):
            engine = kept[key] = Engine(bilm, *key)
        return engine


def _state(bilm: Network) -> list[tuple[Tensor, int, int]]:
    """What tells one state of the weights from another: each tensor, its place, its count of changes."""
    found: list[tuple[Tensor, int, int]] = []
    for part in (bilm.encoder, bilm.forward_direction, bilm.backward_direction):
        for module in part.modules():
            for p in module._parameters.values():  # named_parameters() takes ten times as long
                if p is not None:
                    found.append((p, place_of(p), 0 if p.is_inference() else p._version))
    return found

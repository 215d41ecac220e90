"""The ways to compute layers on this machine, best first. They differ by rounding only."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from .binding import instruction_sets
from .cells import Cell, Switches
from .native_route import NativeRoute
from .torch_route import TorchRoute
from .units import Inputs

CUDA = "cuda"
TORCH = "torch"
NATIVE = "native "


class Route(Protocol):
    """Layers of batches; see TorchRoute.run."""

    name: str

    def run(self, inputs: Inputs, out: Sequence[np.ndarray]) -> None: ...


def routes() -> list[str]:
    """Names of those of the CPU: "native " and an instruction set, for each that it has, and "torch"."""
    return [*(NATIVE + name for name in instruction_sets()), TORCH]


def make_route(
    name: str, directions: Sequence[Sequence[Cell]], switches: Switches, dtype: torch.dtype
) -> Route:
    """One of routes() or CUDA, with weights of its own. dtype: of the products; int16 is float32 in torch."""
    if name == CUDA:
        from .gpu_route import GpuRoute  # it needs Triton

        return GpuRoute(directions, switches, dtype)
    if name == TORCH:
        return TorchRoute(directions, switches, torch.float32 if dtype == torch.int16 else dtype)
    return NativeRoute(directions, switches, dtype, name.removeprefix(NATIVE))

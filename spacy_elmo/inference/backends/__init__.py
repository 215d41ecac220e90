"""Backends that compute layers on this machine, best first. Their results differ only by rounding."""

import sys
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from ...kernels import binding
from ...kernels.binding import supported_targets
from ..inputs.input_vectors import EncodedInputs
from .lstm_weights import LSTMOptions, LSTMWeights
from .native import NativeBackend
from .torch_cpu import TorchBackend

CUDA = "cuda"
TORCH = "torch"
NATIVE = "native "


class Backend(Protocol):
    """Computes the layers of batches; see TorchBackend.run."""

    name: str

    def run(self, inputs: EncodedInputs, out: Sequence[np.ndarray]) -> None:
        """Fill `out` with the layers of a batch; see TorchBackend.run."""
        ...


def available_backends() -> list[str]:
    """Return the CPU backends: "native " and an instruction set, for each that exists here, and "torch"."""
    return [*(NATIVE + name for name in supported_targets()), TORCH]


def explain_choice() -> str:
    """Say in one sentence why the first of available_backends() is taken."""
    names = list(supported_targets())
    if names:
        return f"Variants of the native kernel for this processor: {', '.join(names)}; the first is the best."
    if sys.platform == "win32":
        return "Under Windows there is no native kernel, so torch computes, more slowly."
    if not any(binding.FOLDER.glob("_native*.so")):
        return (
            "The native kernel was not built, so torch computes, more slowly: "
            "install a C++ compiler (GCC or Clang), then spacy-elmo again."
        )
    return (
        "The native kernel was built for another version or another kind of machine, so torch computes, "
        "more slowly: install spacy-elmo again."
    )


def create_backend(
    name: str, directions: Sequence[Sequence[LSTMWeights]], options: LSTMOptions, dtype: torch.dtype
) -> Backend:
    """Create a backend with its own copy of the weights.

    name: one of available_backends(), or CUDA. dtype: type of the products; torch computes int16 in float32.
    """
    if name == CUDA:
        from .cuda import CudaBackend  # it needs Triton

        return CudaBackend(directions, options, dtype)
    if name == TORCH:
        return TorchBackend(directions, options, torch.float32 if dtype == torch.int16 else dtype)
    return NativeBackend(directions, options, dtype, name.removeprefix(NATIVE))

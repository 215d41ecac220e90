"""Hold the torch network for thinc. Its weights are saved as safetensors, never pickled."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch
from thinc.api import Shim, torch2xp, xp2torch

from ...errors import ElmoError
from ...json_text import parse_json
from .network import BiDAF, BiDAFConfig

METADATA_KEY = "spacy-elmo.BiDAF"


class NetworkShim(Shim):
    """Shim of a reader's network, which is missing until it is initialized or loaded.

    max_grad_norm: norm to which all gradients together are clipped.
    """

    _model: BiDAF | None

    def __init__(self, network: BiDAF | None = None, *, max_grad_norm: float = 5.0):
        super().__init__(network)
        self.max_grad_norm = max_grad_norm
        self._device = "cpu"

    @property
    def network(self) -> BiDAF:
        """The network. Raises an ElmoError before it is initialized or loaded."""
        if self._model is None:
            raise ElmoError("The reader is not initialized: train it, or load a trained pipeline.")
        return self._model

    @network.setter
    def network(self, network: BiDAF) -> None:
        self._model = network.to(self._device)

    def finish_update(self, optimizer: Any) -> None:
        """Clip the gradients and let thinc's optimizer step."""
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.max_grad_norm)
        for name, parameter in self.network.named_parameters():
            if parameter.grad is None:
                continue
            weights, _ = optimizer((self.id, name), torch2xp(parameter.data), torch2xp(parameter.grad))
            parameter.data = xp2torch(weights, device=parameter.device)
            parameter.grad = None

    @contextmanager
    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        """Run with the parameters of `params` (averages) instead of the network's own."""
        originals = {name: p.data for name, p in self._named_parameters() if (self.id, name) in params}
        for name, p in self._named_parameters():
            if name in originals:
                p.data = xp2torch(params[(self.id, name)], device=p.device)
        try:
            yield
        finally:
            for name, p in self._named_parameters():
                p.data = originals.get(name, p.data)

    def _named_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [] if self._model is None else list(self._model.named_parameters())

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move the network, for thinc's model.to_gpu() and to_cpu()."""
        self._device = "cpu" if device_type == "cpu" else f"cuda:{device_id}"
        if self._model is not None:
            self._model.to(self._device)

    def to_bytes(self) -> bytes:
        """Return sizes and weights in the safetensors format; empty before initialization."""
        if self._model is None:
            return b""
        tensors = {name: t.detach().cpu().contiguous() for name, t in self._model.state_dict().items()}
        metadata = {METADATA_KEY: json.dumps(self._model.config.to_dict(), ensure_ascii=False)}
        return safetensors_torch.save(tensors, metadata)

    def from_bytes(self, data: bytes) -> "NetworkShim":
        """Read the result of to_bytes. Raises an ElmoError for anything else."""
        if not data:
            self._model = None
            return self
        try:
            tensors = safetensors_torch.load(data)
            config = BiDAFConfig(**parse_json(_metadata(data)[METADATA_KEY].encode("utf8")))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ElmoError(f"The weights of the reader are damaged ({error}): train it again.") from error
        network = BiDAF(config)
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise ElmoError(f"The weights of the reader do not fit its configuration: {error}") from error
        self.network = network.eval()
        return self

    def copy(self) -> "NetworkShim":
        """Return a copy with its own network, which may be trained."""
        return NetworkShim(deepcopy(self._model), max_grad_norm=self.max_grad_norm)

    def __deepcopy__(self, memo: dict[int, Any]) -> "NetworkShim":
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": self.to_bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        data = state.pop("_model")
        self.__dict__.update(state, _model=None)
        self.from_bytes(data)


def _metadata(data: bytes) -> dict[str, str]:
    """Return the metadata of safetensors bytes, which safetensors itself only reads from files."""
    size = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = parse_json(data[8 : 8 + size])["__metadata__"]
    return metadata

"""Prepare a biLM for inference: built at the first call, and again after its weights change."""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..kernels.binding import address_of
from ..locks import ForkSafeLock
from ..modeling.network import BiLMNetwork
from .backends import CUDA, Backend, available_backends, create_backend
from .backends.lstm_weights import lstm_options, lstm_weights
from .inputs.input_vectors import InputEncoder, make_input_encoder


class PreparedModel:
    """Backend and input vectors for one biLM in one precision."""

    def __init__(self, bilm: BiLMNetwork, dtype: torch.dtype, backend: str):
        self._vocab = bilm.vocab
        self._weight_versions = _weight_versions(bilm)
        directions = (bilm.forward_lm, bilm.backward_lm)
        spelling = torch.float32 if dtype == torch.int16 else dtype  # int16 exists only in the kernel
        self.inputs: InputEncoder = make_input_encoder(bilm.token_encoder, bilm.vocab, bilm.config, spelling)
        cells = [lstm_weights(direction) for direction in directions]
        self.backend: Backend = create_backend(backend, cells, lstm_options(directions[0]), dtype)

    def is_current(self, bilm: BiLMNetwork) -> bool:
        """Return whether the biLM still has the weights and the vocabulary that this was built from.

        This detects replaced tensors and in-place updates that bump the version counter (optimizer steps,
        copy_, load_state_dict). It cannot detect writes through `.data`.
        """
        now = _weight_versions(bilm)
        same = len(now) == len(self._weight_versions) and all(
            a is b and where == there and version == other
            for (a, where, version), (b, there, other) in zip(now, self._weight_versions, strict=True)
        )
        return same and bilm.vocab is self._vocab


_prepared: WeakKeyDictionary[BiLMNetwork, dict[tuple[torch.dtype, str], PreparedModel]] = WeakKeyDictionary()
_lock = ForkSafeLock()


def get_prepared(bilm: BiLMNetwork, dtype: torch.dtype, backend: str | None = None) -> PreparedModel:
    """Return the prepared model of a biLM on its device: the CPU, or a GPU with Triton.

    dtype: type of the products, float32, bfloat16 or int16. backend: on a CPU, one of available_backends();
    None: the best.
    """
    key = (dtype, backend or (available_backends()[0] if bilm.device.type == "cpu" else CUDA))
    with _lock:
        of_model = _prepared.setdefault(bilm, {})
        prepared = of_model.get(key)
        if prepared is None or not prepared.is_current(bilm):
            prepared = of_model[key] = PreparedModel(bilm, *key)
        return prepared


def _weight_versions(bilm: BiLMNetwork) -> list[tuple[Tensor, int, int]]:
    """Return the state of the weights: each tensor, its address and its version counter."""
    found: list[tuple[Tensor, int, int]] = []
    for part in (bilm.token_encoder, bilm.forward_lm, bilm.backward_lm):
        for module in part.modules():
            for p in module._parameters.values():  # ten times as fast as named_parameters()
                if p is not None:
                    found.append((p, address_of(p), 0 if p.is_inference() else p._version))
    return found

"""Tell biLMs apart by a digest of their weights."""

import hashlib
from weakref import WeakKeyDictionary

from ...inference.bilm import BiLM
from ...modeling.quantization import QUANTIZED_TENSORS

SAMPLED_WEIGHTS = 256  # of each tensor: a training changes nearly all weights

_digests: WeakKeyDictionary[BiLM, str] = WeakKeyDictionary()


def weights_digest(bilm: BiLM) -> str:
    """Return 32 hex digits, equal on all processors, that differ for biLMs with other weights.

    They are equal for a biLM that was saved as float16, which rounds its weights and quantizes its tables.
    """
    if bilm not in _digests:
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(bilm.state_dict().items()):
            if name in QUANTIZED_TENSORS:
                continue
            sample = tensor.flatten()[:: max(1, tensor.numel() // SAMPLED_WEIGHTS)]
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(sample.half().cpu().numpy().tobytes())
        _digests[bilm] = digest.hexdigest()
    return _digests[bilm]

"""Encode sentences to layers, in batches of similar length and without gradients."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..batching import length_buckets, minibatch_by_size
from ..errors import ElmoError
from ..kernels.fused_ops import fused_ops_for
from ..kernels.precision import Precision, resolve_compute_dtype, round_to_fp16
from ..modeling.collate import collate
from ..modeling.network import BiLMNetwork
from .prepared_model import PreparedModel, get_prepared

ALLOC_BLOCK_BYTES = (
    16 * 2**20
)  # glibc keeps smaller freed blocks, but returns blocks of 32 MB and more to the system


GPU_BATCH_FACTOR = 8  # larger batches on a GPU: a step takes the same time for a few rows as for hundreds


def encode(
    bilm: BiLMNetwork,
    sentences: Sequence[Sequence[str]],
    *,
    batch_tokens: int = 8192,
    precision: Precision = "f32",
    backend: str | None = None,
    out: Sequence[np.ndarray | None] | None = None,
) -> list[np.ndarray]:
    """Encode sentences, see BiLM.encode. backend: one of available_backends(), CPU only; None: the best."""
    places = [None] * len(sentences) if out is None else _checked(out, bilm, sentences)
    dtype = compute_dtype_of(bilm, precision)
    with torch.inference_mode():
        if bilm.device.type != "cpu":
            batch_tokens *= GPU_BATCH_FACTOR
        if bilm.config.stacked_bidirectional or not _has_backend(bilm.device):
            return _encode_with_module(bilm, sentences, batch_tokens, dtype, places)
        return _encode_with_backend(bilm, sentences, batch_tokens, get_prepared(bilm, dtype, backend), places)


def _checked(
    out: Sequence[np.ndarray | None], bilm: BiLMNetwork, sentences: Sequence[Sequence[str]]
) -> Sequence[np.ndarray | None]:
    """Return the output arrays. Raises an ElmoError if one does not fit its sentence."""
    if len(out) != len(sentences):
        raise ElmoError(
            f"out has {len(out)} entries for {len(sentences)} sentences: give an array or None for each."
        )
    for i, (array, sentence) in enumerate(zip(out, sentences, strict=True)):
        shape = bilm.n_layers, len(sentence), bilm.width
        if array is not None and not _fits(array, shape):
            raise ElmoError(
                f"out[{i}] does not fit the layers of its sentence: give a writable float32 array {shape}, "
                "each layer contiguous, or None."
            )
    return out


def _fits(array: Any, shape: tuple[int, int, int]) -> bool:
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.float32:
        return False
    rows, numbers = array.strides[1:]
    in_one_piece = numbers == 4 and (rows == 4 * shape[2] or shape[1] == 1)
    return array.flags.writeable and array.flags.aligned and (in_one_piece or not array.size)


def _has_backend(device: torch.device) -> bool:
    """Return whether a backend other than the network itself exists: on a CPU, and on a GPU with Triton."""
    return device.type == "cpu" or (
        device.type == "cuda" and fused_ops_for(torch.empty(0, device=device)) is not None
    )


def compute_dtype_of(bilm: BiLMNetwork, precision: Precision) -> torch.dtype:
    """Return the type of the products for a biLM on its device; see resolve_compute_dtype."""
    dtype = resolve_compute_dtype(precision, bilm.device)
    return torch.float32 if bilm.config.stacked_bidirectional and dtype == torch.int16 else dtype


def _encode_with_backend(
    bilm: BiLMNetwork,
    sentences: Sequence[Sequence[str]],
    batch_tokens: int,
    prepared: PreparedModel,
    places: Sequence[np.ndarray | None],
) -> list[np.ndarray]:
    lengths = [len(sentence) for sentence in sentences]
    empty = np.empty((bilm.n_layers, 0, bilm.width), dtype=np.float32)
    out = [empty if array is None else array for array in places]
    for group in length_buckets(lengths, batch_tokens):
        inputs = prepared.inputs.encode([sentences[i] for i in group])
        unallocated = [i for i in group if places[i] is None]
        for i, layers in zip(
            unallocated, _alloc_outputs(bilm, [lengths[i] for i in unallocated]), strict=True
        ):
            out[i] = layers
        prepared.backend.run(inputs, [out[i] for i in group])
    return out


def _alloc_outputs(bilm: BiLMNetwork, lengths: Sequence[int]) -> list[np.ndarray]:
    """Allocate (L, n, D) for each sentence, many in one block: large pages save time.

    Blocks have at most ALLOC_BLOCK_BYTES bytes, unless a sentence needs more.
    """
    unit_bytes = 4 * bilm.n_layers * bilm.width
    blocks = minibatch_by_size(lengths, ALLOC_BLOCK_BYTES, lambda n: n * unit_bytes)
    return [layers for block in blocks for layers in _alloc_block(block, bilm.n_layers, bilm.width)]


def _alloc_block(lengths: Sequence[int], n_layers: int, width: int) -> list[np.ndarray]:
    parts = np.empty((sum(lengths), n_layers * width), dtype=np.float32)
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    return [parts[end - n : end].reshape(n_layers, n, width) for end, n in zip(ends, lengths, strict=True)]


def _encode_with_module(
    bilm: BiLMNetwork,
    sentences: Sequence[Sequence[str]],
    batch_tokens: int,
    dtype: torch.dtype,
    places: Sequence[np.ndarray | None],
) -> list[np.ndarray]:
    lengths = [len(sentence) for sentence in sentences]
    new = ((bilm.n_layers, n, bilm.width) for n in lengths)
    out = [
        np.empty(shape, dtype=np.float32) if array is None else array
        for shape, array in zip(new, places, strict=True)
    ]
    for group in length_buckets(lengths, batch_tokens):
        batch = collate(bilm, [sentences[i] for i in group]).to(bilm.device)
        found = bilm(batch, dtype=dtype).float()  # (L, B, T, D)
        layers = (found if dtype == torch.float32 else round_to_fp16(found)).cpu().numpy()
        for row, i in enumerate(group):
            out[i][:] = layers[:, row, 1 : 1 + lengths[i]]
    return out

"""The backend of the native kernel: both directions in one C++ call, see native/elmo_api.cc."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...kernels.binding import (
    Packed,
    as_indices,
    call,
    check_indices,
    check_same,
    check_shape,
    target_number,
)
from ...kernels.native_interface import COMPUTE_TYPES
from ...kernels.precision import DTYPE_NAMES
from ..inputs.input_vectors import EncodedInputs
from .lstm_weights import LSTMOptions, LSTMWeights


class NativeBackend:
    """Both directions of a biLM in C++, with weights packed for an instruction set.

    Up to `torch.get_num_threads()` threads work on a batch. instruction_set: one of supported_targets().
    dtype: type of the products: float32, bfloat16 or int16. Cell states are float32.
    """

    def __init__(
        self,
        directions: Sequence[Sequence[LSTMWeights]],
        options: LSTMOptions,
        dtype: torch.dtype,
        instruction_set: str,
    ):
        self.name = f"native {instruction_set}, {DTYPE_NAMES[dtype]}"
        forward, backward = directions
        check_same("The numbers of layers of the two directions", [len(forward), len(backward)])
        first = forward[0]
        P, H = first.projection, first.hidden
        weights: list[Tensor | None] = []
        for cell in (*forward, *backward):
            weights += _weights(cell, P, H, projects=first.w_hr is not None)
        self._n_layers, self._projection = len(forward), P
        self._model = Packed(
            "elmo_model_new",
            "elmo_model_free",
            "the biLM",
            target=target_number(instruction_set),
            compute_type=COMPUTE_TYPES.index(DTYPE_NAMES[dtype]),
            n_layers=len(forward),
            projection_dim=P,
            hidden_size=H,
            use_skip_connections=options.skip,
            cell_clip=math.inf if options.cell_clip is None else options.cell_clip,
            proj_clip=math.inf if options.proj_clip is None else options.proj_clip,
            weights=weights,
        )

    def run(self, inputs: EncodedInputs, out: Sequence[np.ndarray]) -> None:
        """Fill `out` with the layers of a batch, see TorchBackend.run."""
        lengths = np.array([len(sentence) for sentence in inputs.ids], dtype=np.int64)
        ids = as_indices(np.concatenate(inputs.ids))
        vectors = inputs.vectors.contiguous()
        check_shape("Vectors of units", vectors, (len(vectors), self._projection))
        check_indices("Units", ids, len(vectors))
        strides = self._check_places(lengths, out)
        table, rows = None, None
        if inputs.ngrams is not None:
            table, rows = inputs.ngrams.vectors.contiguous(), as_indices(inputs.ngrams.rows)
            if table.shape[1] > self._projection:
                raise ValueError(
                    f"N-gram vectors have width {table.shape[1]}, more than unit vectors "
                    f"({self._projection})."
                )
            check_shape("N-grams", rows, (len(ids), rows.shape[1]))
            check_indices("N-grams", rows, len(table))
        call(
            "elmo_encode",
            self._model,
            n_sentences=len(lengths),
            lengths=lengths,
            ids=ids,
            vectors=vectors,
            scale=inputs.scale,
            n_ngram_orders=0 if rows is None else rows.shape[1],
            ngram_dim=0 if table is None else table.shape[1],
            ngram_vectors=table,
            ngram_rows=rows,
            out=out,
            layer_strides=strides,
            n_threads=torch.get_num_threads(),
        )

    def _check_places(self, lengths: np.ndarray, out: Sequence[np.ndarray]) -> np.ndarray:
        """Return the stride between layers of each output. Raises a ValueError if an output does not fit."""
        check_same("The numbers of sentences and of places", [len(lengths), len(out)])
        if not len(lengths) or lengths[-1] < 2 or (lengths[:-1] < lengths[1:]).any():
            raise ValueError("Sentences must be in descending order of length and include both boundaries.")
        width = 2 * self._projection
        for n, target in zip(lengths.tolist(), out, strict=True):
            check_shape("The output of a sentence", target, (self._n_layers + 1, n - 2, width))
            rows, numbers = target.strides[1:]
            in_one_piece = numbers == 4 and (rows == 4 * width or n <= 3)
            if target.size and (not in_one_piece or target.strides[0] % 4):
                raise ValueError("An output array must hold each layer contiguously.")
        return np.array([target.strides[0] // 4 for target in out], dtype=np.int64)


def _weights(cell: LSTMWeights, P: int, H: int, *, projects: bool) -> list[Tensor | None]:
    """Return the weights of a layer as the kernel takes them.

    Raises a ValueError if they do not fit P and H.
    """
    check_shape("w_ih", cell.w_ih, (4 * H, P))
    check_shape("w_hh", cell.w_hh, (4 * H, P))
    check_shape("bias", cell.bias, (4 * H,))
    check_same("Layers with a projection and without", [projects, cell.w_hr is not None])
    if cell.w_hr is None:
        check_same("P and H without a projection", [P, H])
        return [cell.w_ih.contiguous(), cell.w_hh.contiguous(), cell.bias.contiguous(), None]
    check_shape("w_hr", cell.w_hr, (P, H))
    return [each.contiguous() for each in (cell.w_ih, cell.w_hh, cell.bias, cell.w_hr)]

"""The route of the native kernel: both directions in one call of C++, see native/bilm.cpp.

The library is built at installation where there is a compiler, and bound to no version of Python or torch.
"""

import math
from collections.abc import Sequence
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from ..precision import NAMES
from .cells import Cell, Switches
from .library import TYPES, instruction_sets, library
from .units import Inputs


class NativeRoute:
    """Both directions of a biLM in C++, its weights packed for an instruction set.

    instruction_set: one of instruction_sets(). dtype: of the products, float32, bfloat16 or int16; cell
    states are float32.
    Up to `torch.get_num_threads()` threads work on a batch.
    """

    def __init__(
        self,
        directions: Sequence[Sequence[Cell]],
        switches: Switches,
        dtype: torch.dtype,
        instruction_set: str,
    ):
        native = library()
        assert native is not None
        self.name = f"native {instruction_set}, {NAMES[dtype]}"
        first = directions[0][0]
        kept: list[Tensor] = []  # until they are packed
        pointers = []
        for cell in (cell for cells in directions for cell in cells):
            for weight in (cell.w_ih, cell.w_hh, cell.bias, cell.w_hr):
                if weight is not None:
                    kept.append(weight.contiguous())
                pointers.append(0 if weight is None else kept[-1].data_ptr())
        self._model = native.elmo_new(
            instruction_sets()[instruction_set],
            TYPES.index(NAMES[dtype]),
            len(directions[0]),
            first.projection,
            first.hidden,
            switches.skip,
            math.inf if switches.cell_clip is None else switches.cell_clip,
            math.inf if switches.projection_clip is None else switches.projection_clip,
            np.array(pointers, dtype=np.int64).ctypes.data,
        )
        if self._model is None:
            raise MemoryError("There is no memory for the weights of the biLM.")
        self._run = native.elmo_encode
        finalize(self, native.elmo_free, self._model)

    def run(self, inputs: Inputs, out: Sequence[np.ndarray]) -> None:
        """See TorchRoute.run."""
        lengths = np.array([len(sentence) for sentence in inputs.ids], dtype=np.int64)
        ids = np.concatenate(inputs.ids)
        places = np.array([array.__array_interface__["data"][0] for array in out], dtype=np.int64)
        strides = np.array([array.strides[0] // 4 for array in out], dtype=np.int64)
        vectors = inputs.vectors.contiguous()
        ngrams = inputs.ngrams
        table = None if ngrams is None else ngrams.vectors.contiguous()
        failed = self._run(
            self._model,
            len(lengths),
            lengths.ctypes.data,
            ids.ctypes.data,
            vectors.data_ptr(),
            inputs.scale,
            0 if ngrams is None else ngrams.rows.shape[1],
            0 if table is None else table.shape[1],
            None if table is None else table.data_ptr(),
            None if ngrams is None else ngrams.rows.ctypes.data,
            places.ctypes.data,
            strides.ctypes.data,
            torch.get_num_threads(),
        )
        if failed:
            raise MemoryError("There is no memory for this batch: give a smaller batch_tokens.")

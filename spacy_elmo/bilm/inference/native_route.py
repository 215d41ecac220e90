"""The route of the native kernel: both directions in one call of C++, see native/bilm.cpp.

The library is built at installation where there is a compiler, and bound to no version of Python or torch.
"""

import ctypes
import math
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from .cells import Cell, Switches

LIBRARY = "spacy_elmo.bilm.inference._native"


@cache
def library() -> ctypes.CDLL | None:
    """The native kernel; None where it was not built, or was built for another kind of machine."""
    found = find_spec(LIBRARY)
    if found is None or found.origin is None:
        return None
    try:
        native = ctypes.CDLL(found.origin)
        native.elmo_isa.restype = ctypes.c_char_p
        native.elmo_new.restype = ctypes.c_void_p
        native.elmo_new.argtypes = [
            *[ctypes.c_int] * 2,
            *[ctypes.c_long] * 3,
            ctypes.c_int,
            *[ctypes.c_float] * 2,
            ctypes.c_void_p,
        ]
        native.elmo_free.argtypes = [ctypes.c_void_p]
        native.elmo_run.argtypes = [
            ctypes.c_void_p,
            ctypes.c_long,
            *[ctypes.c_void_p] * 3,
            ctypes.c_float,
            ctypes.c_void_p,
            ctypes.c_int,
        ]
    except (OSError, AttributeError):
        return None
    return native


@cache
def instruction_sets() -> dict[str, int]:
    """Those of the kernel that this processor has, best first, with their numbers."""
    native = library()
    found: dict[str, int] = {}
    number = 0
    while native is not None and (name := native.elmo_isa(number)) is not None:
        if native.elmo_supported(number):
            found[name.decode("ascii")] = number
        number += 1
    return found


class NativeRoute:
    """Both directions of a biLM in C++, its weights packed for an instruction set.

    instruction_set: one of instruction_sets(). dtype: of the products; sums and cell states are float32.
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
        self.name = f"native {instruction_set}, {'bf16' if dtype == torch.bfloat16 else 'f32'}"
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
            dtype == torch.bfloat16,
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
        self._run = native.elmo_run
        finalize(self, native.elmo_free, self._model)

    def run(
        self, vectors: Tensor, scale: float, ids: Sequence[np.ndarray], out: Sequence[np.ndarray]
    ) -> None:
        """See TorchRoute.run."""
        flat = np.concatenate(ids)
        lengths = np.array([len(sentence) for sentence in ids], dtype=np.int64)
        starts = flat.ctypes.data + 8 * (np.cumsum(lengths) - lengths)
        places = np.array([array.__array_interface__["data"][0] for array in out], dtype=np.int64)
        vectors = vectors.contiguous()
        failed = self._run(
            self._model,
            len(ids),
            lengths.ctypes.data,
            starts.ctypes.data,
            vectors.data_ptr(),
            scale,
            places.ctypes.data,
            torch.get_num_threads(),
        )
        if failed:
            raise MemoryError("There is no memory for this batch: give a smaller batch_tokens.")

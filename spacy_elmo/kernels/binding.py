"""Bind the native kernel, a shared library. The only module that turns arrays into addresses.

The library is built at installation if there is a compiler (setup.py), independent of the versions of Python
and torch. `call` keeps a reference to every array until the function has returned, and checks element type,
contiguity and alignment. Callers check shapes and indices, with `check_shape` and `check_indices`.
"""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from ..locks import BuildOnce

FOLDER = Path(__file__).parent  # setup.py builds "_native.so" into it
ABI_VERSION = 4  # of its functions; an older build is none, until it is built again
COMPUTE_TYPES = ("f32", "bf16", "int16")  # as native/model.h counts them

Array = np.ndarray | Tensor

_INT, _LONG, _FLOAT, _ADDRESS = ctypes.c_int, ctypes.c_long, ctypes.c_float, ctypes.c_void_p


class _Pointer(NamedTuple):
    """Parameter that points to numbers: an array, None (null), or, with `many`, a list of arrays.

    Attributes:
        array: NumPy type, if NumPy arrays are allowed.
        tensor: torch types, if tensors are allowed.
        written: The function writes to the array.
        many: The parameter is a list of arrays.
        strided: The function gets the distances between the array's blocks, which the caller has checked.
        optional: The list may contain None.
    """

    array: Any
    tensor: tuple[torch.dtype, ...]
    written: bool = False
    many: bool = False
    strided: bool = False
    optional: bool = False


class _Function(NamedTuple):
    """Result and parameters of a function. no_memory: message of a MemoryError; None: return the result."""

    result: Any
    parameters: tuple[Any, ...]
    no_memory: str | None = None


_FLOATS = _Pointer(np.dtype("f4"), (torch.float32,))
_INDICES = _Pointer(np.dtype("i8"), (torch.int64,))
_MANY, _STATE = _FLOATS._replace(many=True), _FLOATS._replace(written=True)
_PLACES = _MANY._replace(written=True, strided=True)
_BYTES = _Pointer(np.dtype("u1"), (torch.uint8,), written=True)
_DOUBLES = _Pointer(np.dtype("f8"), (torch.float64,), written=True)
_WEIGHTS = _MANY._replace(optional=True)
_SHAPE = (_LONG, _LONG)
_SIZES = (_INT, _INT, _LONG, *_SHAPE)  # instruction set, half or not, and three sizes
_LAYER = (*_SIZES, _LONG)
_NO_STEP = "There is no memory for this step: give a smaller batch_tokens."

FUNCTIONS = {
    "elmo_isa": _Function(ctypes.c_char_p, (_INT,)),
    "elmo_supported": _Function(_INT, (_INT,)),
    "elmo_fastest": _Function(_INT, (_INT,)),
    "elmo_new": _Function(_ADDRESS, (_INT, _INT, _LONG, *_SHAPE, _INT, _FLOAT, _FLOAT, _WEIGHTS)),
    "elmo_free": _Function(None, (_ADDRESS,)),
    "elmo_encode": _Function(
        _INT,
        (
            *(_ADDRESS, _LONG, _INDICES, _INDICES, _FLOATS, _FLOAT, *_SHAPE, _FLOATS, _INDICES),
            *(_PLACES, _INDICES, _INT),
        ),
        no_memory="There is no memory for this batch: give a smaller batch_tokens.",
    ),
    "elmo_tokens": _Function(
        _INT,
        (
            *(_INT, _LONG, _INDICES, _MANY, _INDICES, *_SHAPE, _INDICES._replace(many=True)),
            *(_MANY._replace(written=True), _INT),
        ),
        no_memory="There is no memory for the layers of these tokens.",
    ),
    "elmo_mix": _Function(
        _INT,
        (
            *(_INT, _LONG, _INDICES, _MANY, *_SHAPE, _FLOATS, _FLOAT, _MANY, _LONG),
            *(_MANY._replace(written=True), _STATE, _INT),
        ),
        no_memory="There is no memory for the mix of this batch.",
    ),
    "elmo_maxout_new": _Function(_ADDRESS, (_INT, _INT, *_SHAPE, *[_FLOATS] * 4, _FLOAT)),
    "elmo_maxout_free": _Function(None, (_ADDRESS,)),
    "elmo_maxout": _Function(
        _INT,
        (_ADDRESS, _LONG, _INDICES, _LONG, _INDICES, _MANY, _STATE, _INT),
        no_memory="There is no memory for this batch: give a smaller batch_size.",
    ),
    "elmo_lstm_room": _Function(None, (*_LAYER, _INT, _INDICES, _INDICES._replace(written=True))),
    "elmo_lstm_forward": _Function(
        _INT,
        (*_LAYER, _INDICES, *[_FLOATS] * 5, _STATE, _BYTES, _INT),
        no_memory=_NO_STEP,
    ),
    "elmo_lstm_backward": _Function(
        _INT,
        (*_LAYER, _INDICES, *[_FLOATS] * 3, _BYTES, _FLOATS, _BYTES, *[_STATE] * 5, _INT),
        no_memory=_NO_STEP,
    ),
    "elmo_softmax_room": _Function(ctypes.c_int64, (*_SIZES, _INT)),
    "elmo_softmax_loss": _Function(
        _INT,
        (*_SIZES, *[_FLOATS] * 3, _INDICES, _BYTES, _DOUBLES, *[_STATE] * 3, _INT),
        no_memory=_NO_STEP,
    ),
}


class Library(NamedTuple):
    """The loaded library, with its functions and their declarations."""

    functions: dict[str, tuple[Callable, _Function]]


@BuildOnce
def load_library() -> Library | None:
    """Load the native kernel; None if it was not built, or for another machine or an older version."""
    path = _find()
    if path is None:
        return None
    try:
        native = ctypes.CDLL(str(path))
        if native.elmo_interface() != ABI_VERSION:
            return None
        functions = {}
        for name, declared in FUNCTIONS.items():
            function = getattr(native, name)
            function.restype = declared.result
            function.argtypes = [_ADDRESS if isinstance(p, _Pointer) else p for p in declared.parameters]
            functions[name] = function, declared
    except (OSError, AttributeError):
        return None
    return Library(functions)


def _find() -> Path | None:
    """Return the path of the library: "_native.so", or a name that an older setup.py used; else None."""
    names = sorted(FOLDER.glob("_native*.so"), key=lambda path: len(path.name))
    return names[0] if names else None


@BuildOnce
def supported_targets() -> dict[str, int]:
    """Return the kernel's instruction sets that this processor supports, best first, with their numbers."""
    found: dict[str, int] = {}
    number = 0
    while load_library() is not None and (name := call("elmo_isa", number)) is not None:
        if call("elmo_supported", number):
            found[name.decode("ascii")] = number
        number += 1
    return found


def available() -> bool:
    """Return whether the native kernel is available."""
    return load_library() is not None


def target_number(isa: str | None) -> int:
    """Return the number of an instruction set of supported_targets(); None: the best."""
    sets = supported_targets()
    return next(iter(sets.values())) if isa is None else sets[isa]


def fastest_compute_type() -> str | None:
    """Return the fastest type of products here: "f32", "bf16" or "int16"; None without the kernel."""
    return COMPUTE_TYPES[call("elmo_fastest", target_number(None))] if available() else None


class Packed:
    """Weights that the kernel has packed, with its functions `make` and `free`.

    They are freed with this object, but not at the interpreter's exit, because a daemon thread may still use
    them. Raises a MemoryError that names `what`.
    """

    def __init__(self, make: str, free: str, what: str, *arguments: Any):
        native = load_library()
        assert native is not None
        self.address = call(make, *arguments)
        if self.address is None:
            raise MemoryError(f"Not enough memory for the weights of {what}.")
        finalize(self, native.functions[free][0], self.address).atexit = False


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the kernel. arguments: numbers, Packed, arrays, lists of arrays, None (null).

    Raises a ValueError for an array that the function could not access safely, and a MemoryError if memory
    runs out.
    """
    native = load_library()
    assert native is not None
    function, declared = native.functions[name]
    passed: list[Any] = []
    tables = []  # tables of addresses: they and `arguments` must live until the function has returned
    for kind, argument in zip(declared.parameters, arguments, strict=True):
        if isinstance(kind, _Pointer) and argument is not None:
            if kind.many:
                table = np.array([_address(each, kind, name) for each in argument], dtype=np.int64)
                tables.append(table)
                passed.append(table.__array_interface__["data"][0])
            else:
                passed.append(_address(argument, kind, name))
        elif isinstance(argument, Packed):
            passed.append(argument.address)
        else:
            passed.append(argument)
    result = function(*passed)
    del tables
    if declared.no_memory is None:
        return result
    if result:
        raise MemoryError(declared.no_memory) if result == 1 else RuntimeError(f"{name} failed: {result}.")
    return None


def _address(array: Any, kind: _Pointer, name: str) -> int:
    if isinstance(array, Tensor):
        if array.dtype in kind.tensor and array.is_contiguous() and array.is_cpu:
            return array.data_ptr()
    elif isinstance(array, np.ndarray):
        flags = array.flags
        usable = array.dtype == kind.array and flags.aligned and (flags.c_contiguous or kind.strided)
        if usable and (flags.writeable or not kind.written):
            return array.__array_interface__["data"][0]
    elif array is None and kind.optional:
        return 0
    wanted = "contiguous, writable" if kind.written else "contiguous"
    found = getattr(array, "dtype", type(array).__name__)
    raise ValueError(f"{name} needs {wanted} arrays of {kind.tensor[0]}, got {found}.")


def address_of(tensor: Tensor) -> int:
    """Return the address of a tensor, to identify its memory. Do not read from it."""
    return tensor.data_ptr()


def as_floats(array: np.ndarray) -> np.ndarray:
    """Return the values as contiguous, aligned float32; the array itself if it already is."""
    flags = array.flags
    if array.dtype == np.float32 and flags.c_contiguous and flags.aligned:
        return array
    return np.require(array, np.float32, ["C", "A"])


def as_indices(array: np.ndarray) -> np.ndarray:
    """Return the values as contiguous int64."""
    return np.require(array, np.int64, ["C", "A"])


def check_shape(what: str, array: Array, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless the array has this shape."""
    if tuple(array.shape) != shape:
        raise ValueError(f"{what}: expected shape {shape}, got {tuple(array.shape)}.")


def check_indices(what: str, indices: np.ndarray, size: int) -> None:
    """Raise a ValueError unless all indices are rows of a table of `size` rows."""
    if indices.size and not (indices.min() >= 0 and indices.max() < size):
        raise ValueError(f"{what}: rows {indices.min()} to {indices.max()} are outside the table of {size}.")


def check_ascending(what: str, indices: np.ndarray, size: int, *, strictly: bool = True) -> None:
    """Raise a ValueError unless the indices ascend and are rows of a table of `size` rows."""
    if not len(indices):
        return
    before, after = indices[:-1], indices[1:]
    ordered = (before < after).all() if strictly else (before <= after).all()
    if not (ordered and indices[0] >= 0 and indices[-1] < size):
        raise ValueError(f"{what}: rows must be ascending and inside the table of {size}.")


def check_same(what: str, values: Sequence[Any]) -> None:
    """Raise a ValueError unless all values are equal."""
    if any(value != values[0] for value in values):
        raise ValueError(f"{what} differ: {', '.join(map(str, dict.fromkeys(values)))}.")

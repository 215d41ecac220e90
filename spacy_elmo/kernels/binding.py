"""Bind the native kernel, a shared library. The only module that turns arrays into addresses.

The library is built at installation if there is a compiler (setup.py), independent of the versions of Python
and torch. `call` keeps a reference to every array until the function has returned, and checks element type,
contiguity and alignment. Callers check shapes and indices, with `check_shape` and `check_indices`.
native_interface.py declares the functions.
"""

import ctypes
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np
from torch import Tensor

from ..locks import BuildOnce
from .native_interface import ABI_VERSION, COMPUTE_TYPES, FUNCTIONS, Function, Kind, Pointer, Scalar, Struct

FOLDER = Path(__file__).parent  # setup.py builds "_native.so" into it

Array = np.ndarray | Tensor

_CTYPES = {
    Scalar.INT: ctypes.c_int64,
    Scalar.DOUBLE: ctypes.c_double,
    Scalar.TEXT: ctypes.c_char_p,
    Scalar.HANDLE: ctypes.c_void_p,
    Scalar.NOTHING: None,
}


class _Loaded(NamedTuple):
    """A function of the library. structure: ctypes class of its struct, if it takes one."""

    function: Callable[..., Any]
    declared: Function
    structure: type[ctypes.Structure] | None


class Library(NamedTuple):
    """The loaded library."""

    functions: dict[str, _Loaded]


def _ctype(kind: Kind | Struct) -> Any:
    return _CTYPES[kind] if isinstance(kind, Scalar) else ctypes.c_void_p


def structure_of(struct: Struct) -> type[ctypes.Structure]:
    """Return the ctypes structure of a struct of the interface."""
    fields = [(name, _ctype(kind)) for name, kind in struct.fields.items()]
    return type(struct.name, (ctypes.Structure,), {"_fields_": fields})


@BuildOnce
def load_library() -> Library | None:
    """Load the native kernel; None if it was not built, or for another machine or an older version."""
    path = _find()
    if path is None:
        return None
    try:
        native = ctypes.CDLL(str(path))
        native.elmo_abi_version.restype = ctypes.c_int64
        if native.elmo_abi_version() != ABI_VERSION:
            return None
        functions = {}
        for name, declared in FUNCTIONS.items():
            function = getattr(native, name)
            function.restype = _CTYPES[declared.result]
            function.argtypes = [_ctype(kind) for kind in declared.parameters]
            structs = [kind for kind in declared.parameters if isinstance(kind, Struct)]
            functions[name] = _Loaded(function, declared, structure_of(structs[0]) if structs else None)
    except (OSError, AttributeError):
        return None
    return Library(functions)


def _find() -> Path | None:
    """Return the path of the library: "_native.so", or a name that an older setup.py used; else None."""
    names = sorted(FOLDER.glob("_native*.so"), key=lambda path: len(path.name))
    return names[0] if names else None


def library_digest() -> str:
    """Return the SHA-256 of the library's file, which identifies its build; "" without a library."""
    path = _find()
    return "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


@BuildOnce
def supported_targets() -> dict[str, int]:
    """Return the kernel's instruction sets that this processor supports, best first, with their numbers."""
    found: dict[str, int] = {}
    number = 0
    while load_library() is not None and (name := call("elmo_target_name", number)) is not None:
        if call("elmo_target_supported", number):
            found[name.decode("ascii")] = number
        number += 1
    return found


def available() -> bool:
    """Return whether the native kernel is available."""
    return load_library() is not None


def target_number(target: str | None) -> int:
    """Return the number of an instruction set of supported_targets(); None: the best."""
    sets = supported_targets()
    return next(iter(sets.values())) if target is None else sets[target]


def fastest_compute_type() -> str | None:
    """Return the fastest type of products here: "f32", "bf16" or "int16"; None without the kernel."""
    return COMPUTE_TYPES[call("elmo_fastest_compute_type", target_number(None))] if available() else None


class Packed:
    """Weights that the kernel has packed, with its functions `make` and `free`.

    They are freed with this object, but not at the interpreter's exit, because a daemon thread may still use
    them. Raises a MemoryError that names `what`.
    """

    def __init__(self, make: str, free: str, what: str, **fields: Any):
        native = load_library()
        assert native is not None
        self.address = call(make, **fields)
        if self.address is None:
            raise MemoryError(f"Not enough memory for the weights of {what}.")
        finalize(self, native.functions[free].function, self.address).atexit = False


def call(name: str, *arguments: Any, **fields: Any) -> Any:
    """Call a function of the kernel.

    arguments: its parameters in order, without its struct: numbers, Packed, arrays, lists of arrays, None
    (null). fields: those of its struct. Raises a TypeError for fields that the struct does not have or that
    are missing, a ValueError for an array that the function could not read or write safely, a MemoryError if
    there is no memory.
    """
    native = load_library()
    assert native is not None
    function, declared, structure = native.functions[name]
    tables: list[np.ndarray] = []  # of addresses: they and the arrays live until the function has returned
    plain = (kind for kind in declared.parameters if not isinstance(kind, Struct))
    passed = [_convert(each, kind, name, tables) for each, kind in zip(arguments, plain, strict=True)]
    for place, struct in enumerate(declared.parameters):
        if isinstance(struct, Struct):
            assert structure is not None
            _check_fields(name, struct, fields)
            values = {
                field: _convert(fields[field], kind, name, tables) for field, kind in struct.fields.items()
            }
            passed.insert(place, ctypes.byref(structure(**values)))
    result = function(*passed)
    del tables
    if declared.out_of_memory is None:
        return result
    if result == 1:  # Status in native/parallel_for.h
        raise MemoryError(declared.out_of_memory)
    if result:
        raise RuntimeError(f"{name} failed: {result}.")
    return None


def _check_fields(name: str, struct: Struct, fields: dict[str, Any]) -> None:
    if fields.keys() != struct.fields.keys():
        differing = ", ".join(sorted(fields.keys() ^ struct.fields.keys()))
        raise TypeError(f"{name} takes all fields of {struct.name} and no others; these differ: {differing}.")


def _convert(argument: Any, kind: Kind, name: str, tables: list[np.ndarray]) -> Any:
    """Return the ctypes value of an argument. tables: collects arrays that must live during the call."""
    if isinstance(argument, Packed):
        return argument.address
    if not isinstance(kind, Pointer) or argument is None:
        return argument
    if not kind.many:
        return _address(argument, kind, name)
    tables.append(np.array([_address(each, kind, name) for each in argument], dtype=np.int64))
    return tables[-1].ctypes.data


def _address(array: Any, kind: Pointer, name: str) -> int:
    if isinstance(array, Tensor):
        if array.dtype == kind.tensor and array.is_contiguous() and array.is_cpu:
            return array.data_ptr()
    elif isinstance(array, np.ndarray):
        flags = array.flags
        usable = array.dtype == kind.array and flags.aligned and (flags.c_contiguous or kind.strided)
        if usable and (flags.writeable or not kind.written):
            return array.ctypes.data
    elif array is None and kind.optional:
        return 0
    wanted = "contiguous, writable" if kind.written else "contiguous"
    found = getattr(array, "dtype", type(array).__name__)
    raise ValueError(f"{name} needs {wanted} arrays of {kind.tensor}, got {found}.")


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

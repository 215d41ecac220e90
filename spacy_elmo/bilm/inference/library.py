"""The native kernel as a shared library: where it is, and which instruction sets of it this processor has.

It is built at installation where there is a compiler (setup.py), and bound to no version of Python or torch.
"""

import ctypes
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent  # setup.py builds "_native.so" into it
INTERFACE = 3  # of its functions; an older build is none, until it is built again
TYPES = ("f32", "bf16", "int16")  # as native/model.h counts them


@cache
def library() -> ctypes.CDLL | None:
    """The native kernel; None where it was not built, or for another kind of machine or an older version."""
    path = _find()
    if path is None:
        return None
    try:
        native = ctypes.CDLL(str(path))
        if native.elmo_interface() != INTERFACE:
            return None
        native.elmo_isa.restype = ctypes.c_char_p
        native.elmo_fastest.argtypes = [ctypes.c_int]
        native.elmo_new.restype = ctypes.c_void_p
        native.elmo_new.argtypes = [
            *[ctypes.c_int] * 2,
            *[ctypes.c_long] * 3,
            ctypes.c_int,
            *[ctypes.c_float] * 2,
            ctypes.c_void_p,
        ]
        native.elmo_free.argtypes = [ctypes.c_void_p]
        native.elmo_encode.argtypes = [
            ctypes.c_void_p,
            ctypes.c_long,
            *[ctypes.c_void_p] * 3,
            ctypes.c_float,
            *[ctypes.c_long] * 2,
            *[ctypes.c_void_p] * 4,
            ctypes.c_int,
        ]
    except (OSError, AttributeError):
        return None
    return native


def _find() -> Path | None:
    """Find the file, whatever Python runs: "_native.so", or one that an older setup.py named for a Python."""
    names = sorted(FOLDER.glob("_native*.so"), key=lambda path: len(path.name))
    return names[0] if names else None


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


def fastest_type() -> str | None:
    """Of the products of the best of them: "f32", "bf16" or "int16"; None without the kernel."""
    native, best = library(), next(iter(instruction_sets().values()), None)
    return None if native is None or best is None else TYPES[native.elmo_fastest(best)]

"""Call system functions that Python does not offer: exchange, locks, flushes, malloc settings."""

import ctypes
import errno
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
RENAME_SWAP = 2  # sys/stdio.h of macOS

# Errors that mean that the system or the file system does not support the call.
UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step. Return False, and do nothing, where the system cannot.

    Raises an OSError if a path is missing or must not be moved.
    """
    function, arguments = _exchange_function()
    if function is None:
        return False
    first, second = os.fsencode(one), os.fsencode(other)
    places = (AT_FDCWD, first, AT_FDCWD, second) if arguments == 5 else (first, second)
    ctypes.set_errno(0)
    if function(*places, RENAME_EXCHANGE if arguments == 5 else RENAME_SWAP) == 0:
        return True
    number = ctypes.get_errno()
    if number in UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


@cache
def _exchange_function() -> tuple[Any, int]:
    """Return the C function and its number of arguments: 5 for Linux's renameat2, 3 for macOS' renamex_np."""
    name, arguments = {"linux": ("renameat2", 5), "darwin": ("renamex_np", 3)}.get(sys.platform, ("", 0))
    function = None
    with suppress(OSError, AttributeError):
        if name:
            function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function is not None:
        text, number = ctypes.c_char_p, ctypes.c_int
        paths = (number, text, number, text) if arguments == 5 else (text, text)
        function.argtypes = (*paths, ctypes.c_uint)
        function.restype = number
    return function, arguments


def lock(file: int, *, wait: bool) -> bool:
    """Lock an open file until `unlock` or the end of this process.

    Return False if another process holds it.

    wait: wait until it is free. On systems without such locks the result is True.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno not in UNKNOWN:
            raise
    return True


def unlock(file: int) -> None:
    """Release a lock, also for forked children that share the open file."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


def flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on disk."""
    try:
        file = os.open(path, os.O_RDONLY)
    except (PermissionError, IsADirectoryError):  # Windows cannot open folders
        return
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise
    finally:
        os.close(file)


def flush_all(folder: Path) -> None:
    """Wait until a folder and everything in it are on disk."""
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            flush(Path(path, name))
        flush(Path(path))


def keep_freed_memory() -> None:
    """Make malloc keep freed tensors: glibc returns large blocks to the system, and new pages are slow."""
    with suppress(OSError, AttributeError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for option in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            mallopt(option, 1 << 30)


def release_freed_memory() -> None:
    """Return memory that was freed to the system, where the C library is glibc.

    malloc keeps freed blocks. Where batches differ in size, later tensors do not fit into these blocks, so a
    process grows although it frees everything.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)

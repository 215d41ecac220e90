"""Files and folders that are either complete or not there."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import ElmoError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

PathLike = str | os.PathLike[str]


class OutputError(ElmoError):
    """A place that cannot be written to."""


def write_atomic(path: PathLike, data: bytes) -> None:
    """Write a file beside its place and move it there: a reader never sees half of it."""
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"Cannot write {target}: it is a folder; name a file.")
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(data)
        os.replace(scratch, target)
    except OSError as error:
        raise OutputError(f"Cannot write {target}: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def check_replaceable(path: PathLike, marker: str, what: str) -> Path:
    """Raise an OutputError unless `path` is free, an empty folder, or a folder with the file `marker`."""
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise OutputError(f"Cannot write {what} to {target}: it is a file; name a folder.")
    if target.is_dir() and any(target.iterdir()) and not (target / marker).is_file():
        raise OutputError(f"Cannot write {what} to {target}: it holds other files; name a new folder.")
    for parent in target.parents:
        if parent.exists():
            if not parent.is_dir():
                raise OutputError(f"Cannot write {what} to {target}: {parent} is a file.")
            break
    return target


@contextmanager
def atomic_folder(path: PathLike, marker: str, what: str) -> Iterator[Path]:
    """A scratch folder that takes the place of `path` at the end, or vanishes when an error comes first.

    marker: the file by which a folder of this kind is known; only such a folder is replaced.
    what: names it in errors ("a model").
    """
    target = check_replaceable(path, marker, what).resolve()  # a link stays one
    missing = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise OutputError(f"Cannot write {what} to {target}: {error.strerror}.") from error
    old = scratch.with_name(scratch.name + ".old")
    try:
        scratch.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        yield scratch
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(scratch, target)
        except BaseException:
            if old.exists():
                os.replace(old, target)
            raise
    except OSError as error:
        if error.errno in FULL:  # others may come of what is read
            raise OutputError(f"Cannot write {what} to {target}: {error.strerror}.") from error
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        for parent in missing:
            with suppress(OSError):  # those that hold something stay
                parent.rmdir()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current

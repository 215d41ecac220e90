"""Files and folders that are either complete or not there, of which no second process writes the same.

Beside a place that is written to lie, as long as it is: a lock, .NAME.lock.spacy-elmo, which ends with its
process, and what is not complete yet, .NAME.new.spacy-elmo (a file) or .NAME.XXXXXXXX.spacy-elmo (a folder).
Those of a process that was killed are removed by the next one that writes to the same place.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import syscalls
from .ownership import FolderKind, OutputError, PathLike, check_apart, check_replaceable

__all__ = [
    "END",
    "FolderKind",
    "OutputError",
    "PathLike",
    "atomic_folder",
    "check_apart",
    "check_replaceable",
    "errors_of",
    "locked",
    "remove_folder",
    "write_atomic",
]

END = ".spacy-elmo"  # of all names that this module makes up
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomic(path: PathLike, data: bytes) -> None:
    """Write a file beside its place, flush it to disk and move it there: a reader never sees half of it.

    A link stays one. Several writers wait for one another, and the last one's content stays.
    """
    target = Path(path).resolve()
    with errors_of("a file", target):
        if target.is_dir():
            raise OutputError(f"Cannot write {target}: it is a folder; name a file.")
    scratch = _scratch(target, "new")  # of one writer at a time, and so of one name
    with locked(target, "a file", wait=True), errors_of("a file", target):
        try:
            with scratch.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, target)
        finally:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
        syscalls.flush(target.parent)


@contextmanager
def atomic_folder(path: PathLike, kind: FolderKind) -> Iterator[Path]:
    """A scratch folder that takes the place of `path` at the end, or vanishes when an error comes first.

    It is flushed to disk and exchanged with what was there in one step, where the system can, and only then
    is the older one removed. Raises an OutputError for a place that is not free, see check_replaceable, and
    where another process, or thread, is writing to it.
    """
    target = check_replaceable(path, kind).resolve()  # a link stays one
    scratch = _scratch(target, secrets.token_hex(4))
    with locked(target, kind.name):
        try:
            with errors_of(kind.name, target):
                _remove_unfinished(target)
                scratch.mkdir()
            with errors_of(kind.name, target, DISK_FULL_ERRNOS):  # others may come of what is read
                yield scratch
            with errors_of(kind.name, target):
                _put_in_place(scratch, target, kind)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)  # what is not complete, or was replaced


def remove_folder(path: Path) -> None:
    """Remove a folder, the caller's own: whatever stops it, there is never half of one at its place."""
    scratch = _scratch(path, secrets.token_hex(4))
    os.rename(path, scratch)
    shutil.rmtree(scratch)


@contextmanager
def errors_of(kind: str, target: Path, numbers: tuple[int, ...] | None = None) -> Iterator[None]:
    """Turn an OSError of these numbers, None: of any, into an OutputError that names the target."""
    try:
        yield
    except OSError as error:
        if numbers is not None and error.errno not in numbers:
            raise
        raise OutputError(f"Cannot write {kind} to {target}: {error.strerror or error}.") from error


def _put_in_place(scratch: Path, target: Path, kind: FolderKind) -> None:
    """Exchange the folders, if what was at the target is still of our kind."""
    for name in kind.kept:
        if (target / name).is_file() and not (scratch / name).exists():
            shutil.copy2(target / name, scratch / name)
    syscalls.flush_all(scratch)
    if not target.exists():
        os.rename(scratch, target)
        syscalls.flush(target.parent)
        return
    check_replaceable(target, kind)  # others may have put something there meanwhile
    if not syscalls.exchange(scratch, target):
        old = _scratch(target, "old")
        os.rename(target, old)
        try:
            os.rename(scratch, target)
        except BaseException:
            os.rename(old, target)
            raise
        os.rename(old, scratch)
    syscalls.flush(target.parent)


@contextmanager
def locked(path: PathLike, kind: str, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes and threads from writing to a place meanwhile.

    wait: until it is free; otherwise an OutputError says that somebody else is writing. Folders above it are
    made, and removed again where nothing came into them.
    """
    target = Path(path).resolve()
    name = _scratch(target, "lock")
    missing: list[Path] = []
    try:
        with errors_of(kind, target):
            missing = [parent for parent in target.parents if not parent.exists()]
            target.parent.mkdir(parents=True, exist_ok=True)
            file = _lock(name, wait=wait)
        if file is None:
            raise OutputError(
                f"Cannot write {kind} to {target}: another process is writing there; wait until it has "
                "finished, or name another output."
            )
        try:
            yield
        finally:
            with suppress(OSError):
                name.unlink()
            syscalls.unlock(file)
            os.close(file)
    finally:
        for parent in missing:
            with suppress(OSError):  # those that hold something stay
                parent.rmdir()


def _lock(name: Path, *, wait: bool) -> int | None:
    """Open and lock a file that is made if it is missing; None where another process holds it."""
    while True:
        file = os.open(name, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        if not syscalls.lock(file, wait=wait):
            os.close(file)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(name)):
                return file
        os.close(file)  # its owner has removed it meanwhile


def _remove_unfinished(target: Path) -> None:
    """Remove what killed processes left of a folder. The caller holds its lock.

    An older folder that was moved aside, and nothing new came to its place, goes back.
    """
    for path in list(target.parent.iterdir()):
        middle = path.name.removeprefix(f".{target.name}.").removesuffix(END)
        if path.name != _scratch(target, middle).name or not path.is_dir() or path.is_symlink():
            continue
        if middle == "old" and not target.exists():
            os.rename(path, target)
        elif middle == "old" or _is_token(middle):
            shutil.rmtree(path, ignore_errors=True)


def _scratch(target: Path, middle: str) -> Path:
    return target.with_name(f".{target.name}.{middle}{END}")


def _is_token(text: str) -> bool:
    return len(text) == 8 and set(text) <= set("0123456789abcdef")

"""Write files and folders that are either complete or absent, one process at a time.

Two kinds of hidden files exist next to an output while it is written: a lock, .NAME.lock.spacy-elmo, which
ends with its process, and incomplete content, .NAME.new.spacy-elmo (a file) or .NAME.XXXXXXXX.spacy-elmo (a
folder). The next process that writes to the same output removes what a killed process left.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import syscalls
from .errors import OutputError
from .ownership import FolderKind, PathLike, check_apart, check_parents, check_replaceable
from .progress import progress_bar

__all__ = [
    "END",
    "FolderKind",
    "OutputError",
    "PathLike",
    "atomic_folder",
    "check_apart",
    "check_parents",
    "check_replaceable",
    "errors_of",
    "locked",
    "remove_folder",
    "write_atomic",
    "write_pieces",
]

END = ".spacy-elmo"  # suffix of all temporary names of this module
PIECE = 2**24  # bytes per write
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_atomic(path: PathLike, data: bytes) -> None:
    """Write a file under a temporary name, flush it to disk and rename it.

    Readers see the old content or the new one, never a part. A symbolic link stays one. Concurrent writers
    wait for one another; the content of the last one stays.
    """
    target = Path(path).resolve()
    with errors_of("a file", target):
        if target.is_dir():
            raise OutputError(f"Cannot write {target}: it is a folder; name a file.")
    scratch = _scratch(target, "new")  # one name suffices, because the lock admits one writer
    with locked(target, "a file", wait=True), errors_of("a file", target):
        try:
            scratch.unlink(missing_ok=True)  # left by a killed process, or a link to a file of others
            write_pieces(scratch, data, target.name, flush=True)
            os.replace(scratch, target)
        finally:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
        syscalls.flush(target.parent)


def write_pieces(path: Path, data: bytes, description: str | None = None, *, flush: bool = False) -> None:
    """Write a new file with a bar. description: on the bar; None: the file's name. flush: to disk, too."""
    with path.open("xb") as file, progress_bar(description or path.name, len(data), "B") as advance:
        for start in range(0, len(data), PIECE):
            advance(file.write(memoryview(data)[start : start + PIECE]))
        if flush:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def atomic_folder(path: PathLike, kind: FolderKind) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` at the end, or is removed after an error.

    The folder is flushed to disk and exchanged with the old one in one step where the system supports it;
    only then is the old one removed. Raises an OutputError if `path` cannot be replaced (see
    check_replaceable), or if another process or thread is writing to it.
    """
    target = check_replaceable(path, kind).resolve()  # a link stays one
    scratch = _scratch(target, secrets.token_hex(4))
    with locked(target, kind.name):
        try:
            with errors_of(kind.name, target):
                _remove_unfinished(target)
                scratch.mkdir()
            with errors_of(kind.name, target, DISK_FULL_ERRNOS):  # other errors may come from reading
                yield scratch
            with errors_of(kind.name, target):
                _put_in_place(scratch, target, kind)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)  # the incomplete folder, or the replaced one


def remove_folder(path: Path) -> None:
    """Remove a folder of this package. An interruption never leaves a part of it under its name."""
    scratch = _scratch(path, secrets.token_hex(4))
    os.rename(path, scratch)
    shutil.rmtree(scratch)


@contextmanager
def errors_of(kind: str, target: Path, numbers: tuple[int, ...] | None = None) -> Iterator[None]:
    """Turn an OSError with one of these numbers into an OutputError that names the target.

    None: any number.
    """
    try:
        yield
    except OSError as error:
        if numbers is not None and error.errno not in numbers:
            raise
        raise OutputError(f"Cannot write {kind} to {target}: {error.strerror or error}.") from error


def _put_in_place(scratch: Path, target: Path, kind: FolderKind) -> None:
    """Exchange the two folders, if the target is still of this kind."""
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
    """Hold a lock, so that no other process or thread writes to `path` meanwhile.

    wait: wait until it is free; otherwise raise an OutputError if it is in use. Missing parent folders are
    created, and removed again at the end if they are empty. The parent folder must be writable.
    """
    target = Path(path).resolve()
    name = _scratch(target, "lock")
    missing: list[Path] = []
    try:
        with errors_of(kind, target):
            check_parents(target, kind)
            missing = [parent for parent in target.parents if not parent.exists()]
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = _lock(name, wait=wait)
            except OSError as error:
                if error.errno not in READ_ONLY_ERRNOS:
                    raise
                raise OutputError(
                    f"Cannot write {kind} to {target}: no lock can be made in {target.parent} "
                    f"({error.strerror}); make that folder writable, or name an output in another one."
                ) from error
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
            with suppress(OSError):  # folders that are not empty stay
                parent.rmdir()


def _lock(name: Path, *, wait: bool) -> int | None:
    """Open (or create) and lock a file; return None if another process holds it."""
    while True:
        file = os.open(name, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        if not syscalls.lock(file, wait=wait):
            os.close(file)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(name)):
                return file
        os.close(file)  # the previous owner removed the file meanwhile


def _remove_unfinished(target: Path) -> None:
    """Remove the temporary folders that killed processes left. The caller holds the lock.

    If a killed process moved the old folder aside and put nothing in its place, the old folder is restored.
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

"""Recognise the folders that this package wrote, so that it never replaces those of others."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

from .errors import OutputError
from .json_text import parse_json

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class FolderKind:
    """A kind of folder that this package writes.

    Attributes:
        name: Name of the kind in messages ("a model").
        marker: The JSON file that identifies a folder of this kind.
        keys: Keys that the marker must have.
        files: Patterns of all other files, relative to the folder.
        kind: Value of the marker's key "kind". Files of version 0.1 lack the key. None: the kind has no
            value.
        listed: Key of the marker whose value names further files.
        kept: Files that a new folder takes over from the folder that it replaces.
    """

    name: str
    marker: str
    keys: frozenset[str]
    files: tuple[str, ...]
    kind: str | None = None
    listed: str | None = None
    kept: tuple[str, ...] = ()

    def foreign(self, folder: Path, *, marker_only: bool = False) -> str | None:
        """Return why a folder is not of this kind, or a foreign file in it; None if all is ours.

        marker_only: check only the marker, for callers that replace nothing else in the folder.
        """
        content = _read_json(folder / self.marker)
        if content is None:
            return f"no {self.marker} of {self.name}"
        if not self.keys <= content.keys() or content.get("kind", self.kind) != self.kind:
            return f"{self.marker} is not that of {self.name}"
        if marker_only:
            return None
        known = [self.marker, *self.files, *self.kept]
        if self.listed is not None and isinstance(content.get(self.listed), dict):
            known += [name for name in content[self.listed] if PurePath(name).name == name]
        try:
            return next((name for name in _entries(folder) if not _is_listed(name, known)), None)
        except OSError as error:  # what cannot be read may be anybody's
            return os.path.relpath(error.filename, folder)


def check_replaceable(path: PathLike, kind: FolderKind, *, marker_only: bool = False) -> Path:
    """Return `path` as a Path if it is free, empty, or a folder of this kind.

    marker_only: see FolderKind.foreign. Raises an OutputError that says why the path cannot be replaced.
    """
    target, what = Path(path), kind.name
    try:
        if (target.exists() or target.is_symlink()) and not target.is_dir():
            raise OutputError(f"Cannot write {what} to {target}: it is a file; name a folder.")
        if target.is_dir() and any(target.iterdir()):
            foreign = kind.foreign(target, marker_only=marker_only)
            if foreign is not None:
                raise OutputError(
                    f"Cannot write {what} to {target}: it holds other files ({foreign}); name a new folder."
                )
        check_parents(target, what)
    except OSError as error:
        raise OutputError(f"Cannot write {what} to {target}: {error.strerror}.") from error
    return target


def check_parents(target: Path, what: str) -> None:
    """Raise an OutputError if `target` cannot exist, since it would be inside a file."""
    parent = next((parent for parent in target.parents if parent.exists()), None)
    if parent is not None and not parent.is_dir():
        raise OutputError(f"Cannot write {what} to {target}: {parent} is a file, not a folder.")


def check_apart(sources: Iterable[PathLike], output: PathLike) -> None:
    """Raise an OutputError if the output is one of the sources, inside one, or a parent of one."""
    target = Path(output).resolve()
    for source in sources:
        input_path = Path(source).resolve()
        if input_path == target or _same_file(input_path, target):
            raise OutputError(f"{output} is also an input: name another output.")
        if input_path in target.parents:
            raise OutputError(f"{output} is inside the input {source}: name an output elsewhere.")
        if target in input_path.parents:
            raise OutputError(f"The input {source} is inside {output}: name an output elsewhere.")


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return the object of a JSON file, or None if the file is anything else."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _entries(folder: Path) -> Iterator[str]:
    """Yield the relative paths of all files and links in a folder, and of its empty folders.

    Raises the OSError of a folder that cannot be read.
    """
    for path, folders, names in os.walk(folder, onerror=_raise):
        here = Path(path)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in (*names, *links):
            yield (here / name).relative_to(folder).as_posix()
        if not folders and not names and here != folder:
            yield here.relative_to(folder).as_posix()


def _raise(error: OSError) -> None:
    raise error


def _is_listed(name: str, patterns: Iterable[str]) -> bool:
    parts = name.split("/")
    for pattern in patterns:
        wanted = pattern.split("/")
        if len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted)):
            return True
    return False

"""Folders that this package writes, and how it tells them from those of others, which it never replaces."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

from .errors import ElmoError

PathLike = str | os.PathLike[str]


class OutputError(ElmoError):
    """A place that cannot be written to."""


@dataclass(frozen=True, kw_only=True)
class FolderKind:
    """A kind of folder that this package writes.

    name: in messages ("a model"). marker: the JSON file by which a folder of the kind is known. keys: what
    that file has. kind: its value of the key "kind", which files of version 0.1 lack; None: it has none.
    files: patterns of all files, relative to the folder. listed: key of the marker that names more files.
    kept: files that a new folder takes over from the one that it replaces.
    """

    name: str
    marker: str
    keys: frozenset[str]
    files: tuple[str, ...]
    kind: str | None = None
    listed: str | None = None
    kept: tuple[str, ...] = ()

    def foreign(self, folder: Path, *, marker_only: bool = False) -> str | None:
        """What shows that a folder is of another kind, or holds what others put there; None: nothing.

        marker_only: look at the marker alone, where nothing else in the folder is replaced.
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
        return next((name for name in _entries(folder) if not _is_listed(name, known)), None)


def check_replaceable(path: PathLike, kind: FolderKind, *, marker_only: bool = False) -> Path:
    """Return `path` as a Path if a folder of this kind can be put there: it is free, empty, or of this kind.

    marker_only: as of FolderKind.foreign. Raises an OutputError that says what is in the way.
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
        for parent in target.parents:
            if parent.exists():
                if not parent.is_dir():
                    raise OutputError(f"Cannot write {what} to {target}: {parent} is a file, not a folder.")
                break
    except OSError as error:
        raise OutputError(f"Cannot write {what} to {target}: {error.strerror}.") from error
    return target


def check_apart(sources: Iterable[PathLike], output: PathLike) -> None:
    """Raise an OutputError if an output is one of the sources, in one of them, or around one of them."""
    target = Path(output).resolve()
    for source in sources:
        place = Path(source).resolve()
        if place == target or _same_file(place, target):
            raise OutputError(f"{output} is also an input: name another output.")
        if place in target.parents:
            raise OutputError(f"{output} is inside the input {source}: name an output elsewhere.")
        if target in place.parents:
            raise OutputError(f"The input {source} is inside {output}: name an output elsewhere.")


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _read_json(path: Path) -> dict[str, Any] | None:
    """The object of a JSON file, None for anything else."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _entries(folder: Path) -> Iterator[str]:
    """Relative paths of all files and links in a folder, and of the empty folders in it."""
    for place, folders, names in os.walk(folder):
        here = Path(place)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in (*names, *links):
            yield (here / name).relative_to(folder).as_posix()
        if not folders and not names and here != folder:
            yield here.relative_to(folder).as_posix()


def _is_listed(name: str, patterns: Iterable[str]) -> bool:
    parts = name.split("/")
    for pattern in patterns:
        wanted = pattern.split("/")
        if len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted)):
            return True
    return False

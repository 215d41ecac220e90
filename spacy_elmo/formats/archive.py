"""Read the files of a foreign model from a folder or a zip archive."""

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..atomic_io import PathLike
from ..errors import FormatError
from ..json_text import parse_json
from .tensor_mapping import MAX_COMPRESSION_RATIO, MIN_CHECKED_BYTES, check_zip_bomb

# Errors of the readers of compressed files for damaged ones.
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, EOFError, ValueError, RuntimeError, OverflowError),
)


class ModelArchive:
    """Files of a folder or a zip archive, by their names.

    Folders inside an archive are ignored: its members are found by their last name.
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)
        self.zip: zipfile.ZipFile | None = None
        self.duplicates: set[str] = set()
        if not self.path.exists():
            raise FormatError(f"{self.path} does not exist: check the path.")
        if self.path.is_dir():
            self.members = {p.name: p.name for p in sorted(self.path.iterdir()) if p.is_file()}
            return
        try:
            self.zip = zipfile.ZipFile(self.path)
        except DAMAGED as error:
            raise FormatError(
                f"{self.path} is neither a folder nor a complete zip archive: download it again."
            ) from error
        names = [name for name in self.zip.namelist() if not name.endswith("/")]
        self.members = {Path(name).name: name for name in names}
        count = Counter(Path(name).name for name in names)
        self.duplicates = {name for name, n in count.items() if n > 1}

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def describe(self, name: str) -> str:
        """Return the path of a file for messages."""
        return f"{name} of {self.path}" if self.zip else str(self.path / name)

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises a FormatError if it is missing or damaged."""
        if name not in self.members:
            raise FormatError(f"{self.path} has no {name}: it is another kind of model, or incomplete.")
        if name in self.duplicates:
            raise FormatError(f"{self.path} holds several files {name}: unpack it and give one folder.")
        if self.zip is not None:
            member = self.zip.getinfo(self.members[name])
            check_zip_bomb(member.compress_size, member.file_size, self.describe(name))
        try:
            if self.zip is not None:
                return self.zip.read(member)
            return (self.path / name).read_bytes()
        except DAMAGED as error:
            raise FormatError(f"{self.describe(name)} is damaged: download it again.") from error

    def file(self, name: str) -> Path | io.BytesIO:
        """Return the path of a file, or its unpacked bytes as a seekable file."""
        if self.zip is None and name in self.members:
            return self.path / name
        return io.BytesIO(self.read(name))

    def json(self, name: str) -> Any:
        """Parse a JSON file. Raises a FormatError."""
        return parse_file_json(self.read(name), self.describe(name))

    def lines(self, name: str) -> list[str]:
        """Return the lines of a UTF-8 text without their ends; only a line feed ends a line.

        Raises a FormatError.
        """
        return split_lines(self.read(name), self.describe(name))


def read_file(path: PathLike) -> bytes:
    """Return the content of a file. Raises a FormatError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}.") from error


def parse_file_json(data: bytes, where: str) -> Any:
    """Parse JSON in UTF-8. where: names the file in a FormatError."""
    try:
        return parse_json(data)
    except ValueError as error:
        raise FormatError(f"{where} is not a JSON file, or is damaged: download it again.") from error


def check_archive(data: bytes, where: str) -> None:
    """Apply check_zip_bomb to all members of a zip archive; accept other data and damaged archives."""
    unpacked = 0
    with suppress(*DAMAGED), zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    check_zip_bomb(len(data), unpacked, where)


def unpack_gzip(data: bytes, where: str) -> bytes:
    """Return the content of a gzip file. where: names the file in a FormatError."""
    most = max(MIN_CHECKED_BYTES, MAX_COMPRESSION_RATIO * len(data))
    try:
        with gzip.open(io.BytesIO(data)) as file:
            unpacked = file.read(most + 1)
    except DAMAGED as error:
        raise FormatError(f"{where} is damaged: download it again.") from error
    check_zip_bomb(len(data), len(unpacked), where)
    return unpacked


def split_lines(data: bytes, where: str) -> list[str]:
    """Return the lines of a UTF-8 text. where: names the file in a FormatError."""
    try:
        lines = data.decode("utf8").split("\n")  # not splitlines: a word or character may be U+2028
    except UnicodeDecodeError as error:
        raise FormatError(f"{where} is not UTF-8: download it again, or convert it to UTF-8.") from error
    return lines[:-1] if lines[-1] == "" else lines

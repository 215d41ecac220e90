"""Stream the lines of text files, compressed or not, for `spacy elmo corpus` and `evaluate`."""

import codecs
import gzip
import json
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import CorpusError
from ...progress import progress_bar
from . import zstd
from .deduplication import LineDeduplicator

SUFFIXES = (".txt", ".jsonl")
COMPRESSED_SUFFIXES = (".gz", ".xz", ".zst")
CHUNK = 2**20  # bytes per read
MAX_LINE_CHARS = 2**20  # characters of a line to hold in memory, unless the line must not be split
LONGEST_WHOLE = 2**26  # characters of a line that must not be split: more than any document has
JUDGED = 2**16  # bytes after which the share of invalid ones is conclusive
BLOCK = 2**21  # characters to segment together
DEDUP_BATCH = 2**13  # lines to deduplicate together

Advance = Callable[[float], object]  # called with a number of bytes that were read from a file

_INVALID = re.compile("[\udc80-\udcff]")  # how Python's "surrogateescape" marks a byte that is not UTF-8
_SURROGATE = re.compile("[\ud800-\udfff]")
_STOP = re.compile("[。！？!?…\\s]")


@dataclass
class ReadStats:
    """Counts of what was read: characters, lines, invalid bytes, and duplicate lines."""

    characters: int = 0
    lines: int = 0
    invalid_bytes: int = 0
    duplicate_lines: int = 0


def find_files(inputs: Iterable[Path]) -> list[Path]:
    """Return the text files among `inputs`, including .txt and .jsonl (also compressed) in folders, by name.

    Hidden files and folders inside a folder are skipped: macOS (`._a.txt`) and Jupyter create them. Raises a
    CorpusError for an input, or a folder inside one, that cannot be read.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(_texts_in(path))
            if not inside:
                raise CorpusError(f"The folder {path} holds no text files: add .txt or .jsonl files.")
            found += inside
        elif path.exists():
            _check_regular(path)
            found.append(path)
        else:
            raise CorpusError(f"The text {path} does not exist: check the path.")
    return found


def _texts_in(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise CorpusError(f"{error.filename} cannot be read: {error.strerror}.") from error

    for here, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(here, name) for name in names if not name.startswith(".")]
        yield from (path for path in paths if _kind(path) in SUFFIXES and path.is_file())


def _check_regular(path: Path) -> None:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise CorpusError(f"{path} is not a file or folder (pipes cannot be read): save the text to a file.")


def read_lines(
    path: Path,
    stats: ReadStats | None = None,
    *,
    whole: bool = False,
    advance: Advance = lambda n: None,
) -> Iterator[str]:
    """Yield the paragraphs of a UTF-8 file: its lines, or the "text" of each line's object in .jsonl.

    Args:
        path: The file, which may be compressed.
        stats: Counts invalid bytes, and halves of surrogate pairs in JSON; each becomes U+FFFD. None: they
            raise a CorpusError.
        whole: Do not split lines. Otherwise a line above 2**20 characters is split, after a sentence if
            possible. Unsplit lines above 2**26 characters raise a CorpusError, also in .jsonl.
        advance: Called with the number of bytes of the file, compressed or not, that were read.

    Raises:
        CorpusError: The file cannot be read, has another encoding, or is not valid.
    """
    number = 0
    kind = _kind(path)
    if kind == ".json":
        raise CorpusError(f'{path} is JSON: give .txt, or .jsonl with an object with a "text" on each line.')
    try:
        _check_regular(path)
        for line in _lines(path, stats, advance, whole=whole or kind == ".jsonl"):
            number += 1
            if kind != ".jsonl":
                yield line
            else:
                yield _text(line, f"{path}, line {number}", stats) if line.strip() else ""
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        where = f" after line {number}" if number else ""
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{path} cannot be read{where}: {reason}.") from error


def _lines(path: Path, stats: ReadStats | None, advance: Advance, *, whole: bool) -> Iterator[str]:
    """Yield lines without their ends. whole: do not split them, up to LONGEST_WHOLE characters."""
    number = 0
    begun: list[str] = []  # the start of a line whose end has not been read
    size = 0
    for text in _decoded(path, stats, advance):
        first, *lines = text.split("\n")
        begun.append(first)
        size += len(first)
        for line in lines:
            yield "".join(begun)
            number += 1
            begun, size = [line], len(line)
        if whole and size > LONGEST_WHOLE:
            raise CorpusError(
                f"{path}, line {number + 1} is longer than {LONGEST_WHOLE >> 20} million characters: "
                "split it into lines."
            )
        if not whole and size > MAX_LINE_CHARS:
            rest = "".join(begun)
            while len(rest) > MAX_LINE_CHARS:
                stops = [m.end() for m in _STOP.finditer(rest, MAX_LINE_CHARS // 2, MAX_LINE_CHARS)]
                cut = stops[-1] if stops else MAX_LINE_CHARS
                yield rest[:cut]
                rest = rest[cut:]
            begun, size = [rest], len(rest)
    if size:
        yield "".join(begun)


def _decoded(path: Path, stats: ReadStats | None, advance: Advance) -> Iterator[str]:
    """Yield the text of a file without its byte order mark. Raises a CorpusError for another encoding."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    size = zeros = number = 0
    bad: list[int] = []  # the first invalid byte and its line
    invalid = 0
    for raw in chain(_chunks(path, advance), [b""]):
        if size == 0 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise CorpusError(f"{path} is UTF-16 (by its first bytes): convert it to UTF-8.")
        text = decoder.decode(raw, final=not raw)
        if size == 0:
            text = text.removeprefix("\ufeff")
        size += len(raw)
        zeros += raw.count(0)
        if first := _INVALID.search(text):
            invalid += len(_INVALID.findall(text))
            if not bad:
                line = number + text.count("\n", 0, first.start()) + 1
                bad = [ord(first.group()) - 0xDC00, line]
            text = _INVALID.sub("\ufffd", text)
        number += text.count("\n")
        judged = size >= JUDGED or not raw
        if bad and (stats is None or (judged and invalid * 10 > size)):
            raise CorpusError(
                f"{path}, line {bad[1]} is not UTF-8 (byte {bad[0]:#04x}): convert "
                "the file to UTF-8; Chinese files are most often GB18030."
            )
        if judged and zeros * 4 > size:
            raise CorpusError(f"{path} is UTF-16 or not text (most of its bytes are 0): convert it to UTF-8.")
        yield text
    if stats is not None:
        stats.invalid_bytes += invalid


def _chunks(path: Path, advance: Advance) -> Iterator[bytes]:
    """Yield the decompressed bytes of a file, at most CHUNK at a time."""
    with path.open("rb") as packed:
        done = 0
        for chunk in _unpacked(path, packed):
            yield chunk
            advance(packed.tell() - done)
            done = packed.tell()


def _unpacked(path: Path, packed: BinaryIO) -> Iterator[bytes]:
    packing = path.suffix.lower()
    if packing == ".zst":
        try:
            yield from zstd.unpacked(packed)
        except ImportError as error:
            raise CorpusError(
                f"{path} is compressed with zstd: pip install 'spacy-elmo[zstd]', or decompress it."
            ) from error
        return
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
    file = openers[packing](packed, "rb") if packing in openers else packed
    yield from iter(partial(file.read, CHUNK), b"")


def _text(line: str, where: str, stats: ReadStats | None) -> str:
    """Return the "text" of a JSON object. where: names the line in a CorpusError."""
    try:
        text = json.loads(line)["text"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorpusError(
            f'{where} is not a JSON object with a "text": correct the line, or remove it.'
        ) from error
    if not isinstance(text, str):
        kind = "null" if text is None else "not a string"
        raise CorpusError(f'The "text" of {where} is {kind}: correct the line, or remove it.')
    halves = len(_SURROGATE.findall(text))  # JSON can encode half of a pair, which is invalid
    if halves and stats is None:
        raise CorpusError(f'The "text" of {where} has half of a surrogate pair: correct the line.')
    if halves:
        assert stats is not None
        stats.invalid_bytes += halves
        text = _SURROGATE.sub("\ufffd", text)
    return text


def _kind(path: Path) -> str:
    name = Path(path.name.lower())
    return Path(name.stem).suffix if name.suffix in COMPRESSED_SUFFIXES else name.suffix


def read_files(
    files: Sequence[Path], stats: ReadStats | None = None, description: str = "text"
) -> Iterator[str]:
    """Yield the lines of all files, see read_lines, with a bar over their bytes."""
    size = sum(path.stat().st_size for path in files if path.is_file())
    with progress_bar(description, size, "B") as advance:
        for path in files:
            yield from read_lines(path, stats, advance=advance)


def iter_blocks(
    files: Sequence[Path], stats: ReadStats, *, dedup: bool = False, size: int = BLOCK
) -> Iterator[str]:
    """Yield the lines of all files, without blank ones, in blocks of about `size` characters.

    dedup: keep only the first of lines that are equal up to surrounding white space. The content of a block
    depends only on the text.
    """
    seen = LineDeduplicator()
    block: list[str] = []
    filled = 0
    lines = _paragraphs(files, stats)
    while group := list(islice(lines, DEDUP_BATCH)):
        kept = seen.first(group) if dedup else group
        stats.duplicate_lines += len(group) - len(kept)
        for line in kept:
            block.append(line)
            filled += len(line) + 1
            if filled >= size:
                yield "\n".join(block)
                block, filled = [], 0
    if block:
        yield "\n".join(block)


def _paragraphs(files: Sequence[Path], stats: ReadStats) -> Iterator[str]:
    for text in read_files(files, stats):
        for line in text.split("\n"):  # a document of .jsonl has several
            if stripped := line.strip():
                stats.lines += 1
                stats.characters += len(stripped)
                yield stripped

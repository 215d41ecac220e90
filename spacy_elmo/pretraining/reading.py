"""Files -> lines of text: what `spacy elmo corpus` and `evaluate` read, packed or not, in a stream."""

import codecs
import gzip
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path

import numpy as np

from ..bilm.errors import ElmoError

SUFFIXES = (".txt", ".jsonl")
PACKED = (".gz", ".xz", ".zst")
CHUNK = 2**20  # bytes read at once
LONGEST = 2**20  # characters of a line that are held at once, except in .jsonl
BLOCK = 2**21  # characters that are cut at once
GROUP = 2**13  # lines that are looked up at once among those that were there before

_INVALID = re.compile("[\udc80-\udcff]")  # how Python's "surrogateescape" marks a byte that is not UTF-8
_STOP = re.compile("[。！？!?…\\s]")


class CorpusError(ElmoError):
    """Text that no corpus can be made of."""


@dataclass
class Tally:
    """What was read: characters and lines, bytes that are not UTF-8, and lines that occurred before."""

    characters: int = 0
    lines: int = 0
    invalid_bytes: int = 0
    duplicate_lines: int = 0


def find_files(inputs: Iterable[Path]) -> list[Path]:
    """The text files among `inputs`; of a folder all .txt and .jsonl in it, also packed, sorted by name."""
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and _kind(p) in SUFFIXES)
            if not inside:
                raise CorpusError(f"The folder {path} holds no text: put .txt or .jsonl files into it.")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise CorpusError(f"There is no text {path}: check the path.")
    return found


def read_lines(path: Path, tally: Tally | None = None) -> Iterator[str]:
    """Paragraphs of a UTF-8 file: its lines, or the "text" of each line's object in .jsonl.

    A line longer than 2**20 characters comes in pieces, cut behind a sentence where there is one.
    tally: counts bytes that are not UTF-8, each of which becomes U+FFFD; None: they raise a CorpusError,
    as does a file of another encoding in any case.
    """
    number = 0
    jsonl = _kind(path) == ".jsonl"
    try:
        for line in _lines(path, tally, whole=jsonl):
            number += 1
            yield (_text(line) if line.strip() else "") if jsonl else line
    except CorpusError:  # a ValueError too
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CorpusError(f'{path}, line {number} is no JSON object with a "text".') from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        where = f" after line {number}" if number else ""
        raise CorpusError(f"{path} cannot be read{where}: {error}.") from error


def _lines(path: Path, tally: Tally | None, *, whole: bool) -> Iterator[str]:
    """Lines without their ends. whole: however long they are."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    invalid = size = number = 0
    rest = ""
    for raw in chain(_chunks(path), [b""]):
        text = decoder.decode(raw, final=not raw)
        if size == 0:
            text = text.removeprefix("\ufeff")
        size += len(raw)
        if first := _INVALID.search(text):
            invalid += len(_INVALID.findall(text))
            if tally is None or (invalid > 64 and invalid * 10 > size):
                line = number + text.count("\n", 0, first.start()) + 1
                raise CorpusError(
                    f"{path}, line {line} is not UTF-8 (byte {ord(first.group()) - 0xDC00:#04x}): convert "
                    "the file, for Chinese most often from GB18030."
                )
            text = _INVALID.sub("\ufffd", text)
        *lines, rest = (rest + text).split("\n")
        number += len(lines)
        yield from lines
        while not whole and len(rest) > LONGEST:
            stops = [m.end() for m in _STOP.finditer(rest, LONGEST // 2, LONGEST)]
            cut = stops[-1] if stops else LONGEST
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest
    if tally is not None:
        tally.invalid_bytes += invalid


def _chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, unpacked."""
    if path.suffix == ".zst":
        yield from _zstd_chunks(path)
        return
    openers: dict[str, Callable] = {".gz": gzip.open, ".xz": lzma.open}
    opener = openers.get(path.suffix, open)
    with opener(path, "rb") as file:
        yield from iter(partial(file.read, CHUNK), b"")


def _zstd_chunks(path: Path) -> Iterator[bytes]:
    """Frame after frame; the library's own file object takes a file that is cut short for a whole one."""
    try:
        import zstandard
    except ImportError as error:
        raise CorpusError(f"{path} is packed with zstd: install spacy-elmo[zstd], or unpack it.") from error
    with path.open("rb") as file:
        frame, data = None, b""
        while data or (data := file.read(CHUNK // 8)):
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            try:
                yield frame.decompress(data)
            except zstandard.ZstdError as error:
                raise OSError(str(error)) from error
            data = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
        if frame is not None:
            raise EOFError("the file is cut short")


def _text(line: str) -> str:
    text = json.loads(line)["text"]
    text.encode("utf8")  # JSON can spell half a surrogate pair, which is no text
    return text


def _kind(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix in PACKED else path.suffix


def blocks(files: Iterable[Path], tally: Tally, *, dedup: bool = False, size: int = BLOCK) -> Iterator[str]:
    """The lines of all files, blank ones left out, joined to blocks of about `size` characters.

    dedup: of lines that are equal, white space around them aside, only the first is kept. What a block
    holds depends on the text alone.
    """
    seen = SeenLines()
    block: list[str] = []
    filled = 0
    lines = _paragraphs(files, tally)
    while group := list(islice(lines, GROUP)):
        kept = seen.first(group) if dedup else group
        tally.duplicate_lines += len(group) - len(kept)
        for line in kept:
            block.append(line)
            filled += len(line) + 1
            if filled >= size:
                yield "\n".join(block)
                block, filled = [], 0
    if block:
        yield "\n".join(block)


def _paragraphs(files: Iterable[Path], tally: Tally) -> Iterator[str]:
    for path in files:
        for text in read_lines(path, tally):
            for line in text.split("\n"):  # a document of .jsonl has several
                if stripped := line.strip():
                    tally.lines += 1
                    tally.characters += len(stripped)
                    yield stripped


class SeenLines:
    """The lines that occurred, each as a hash of 8 bytes: 100 million of them take 0.8 GB.

    Two different lines share a hash with a probability of n^2 / 2^65 among n lines: 3e-4 for 100 million.
    """

    def __init__(self) -> None:
        # Sorted, each at least twice as long as the next: few searches a line, few merges.
        self._runs: list[np.ndarray] = []

    def first(self, lines: list[str]) -> list[str]:
        """The lines that were not there before."""
        digests = b"".join(blake2b(line.encode("utf8"), digest_size=8).digest() for line in lines)
        hashes, where = np.unique(np.frombuffer(digests, dtype=np.uint64), return_index=True)
        new = np.ones(len(hashes), dtype=bool)
        for run in self._runs:
            place = np.searchsorted(run, hashes).clip(max=len(run) - 1)
            new &= run[place] != hashes
        run = hashes[new]
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        if len(run):
            self._runs.append(run)
        return [lines[i] for i in sorted(where[new].tolist())]

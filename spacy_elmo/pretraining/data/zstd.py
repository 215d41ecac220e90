"""Decompress zstd files block by block, in bounded memory whatever their content.

A decompressor returns everything that its input expands to: one kilobyte may become tens of megabytes. It
therefore gets one block at a time, which expands to at most 128 KB. Format: RFC 8878, section 3.1.
"""

from collections.abc import Iterator
from typing import BinaryIO

MAGIC, SKIPPED = (
    0xFD2FB528,
    0x184D2A5,
)  # magic number of a frame; of a skippable frame, without its last 4 bits
RLE = 1  # type of a block of one repeated byte
STEP = 2**20  # bytes per read in a skippable frame


def unpacked(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content in chunks of at most 128 KB. Raises an OSError or EOFError for a damaged file.

    The only other memory is the window of the file, at most 128 MB, which the library limits.
    """
    import zstandard

    while frame := _frame(file):
        inflate = zstandard.ZstdDecompressor().decompressobj().decompress
        try:
            for piece in frame:
                yield inflate(piece)
        except zstandard.ZstdError as error:
            raise OSError(str(error)) from error


def _frame(file: BinaryIO) -> Iterator[bytes] | None:
    """Return the parts of the next frame: header, each block, checksum. None at the end of the file."""
    while start := file.read(4):
        magic = int.from_bytes(start, "little")
        if len(start) == 4 and magic >> 4 == SKIPPED:
            _skip(file, int.from_bytes(_read(file, 4), "little"))
            continue
        if len(start) == 4 and magic != MAGIC:
            raise OSError("it is not a zstd file, or is damaged")
        return _pieces(file, start)
    return None


def _pieces(file: BinaryIO, start: bytes) -> Iterator[bytes]:
    described = _read(file, 1)
    flags = described[0]
    single = flags >> 5 & 1
    size = (0 if single else 1) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
    yield start + described + _read(file, size)
    last = False
    while not last:
        head = _read(file, 3)
        value = int.from_bytes(head, "little")
        last = bool(value & 1)
        yield head + _read(file, 1 if value >> 1 & 3 == RLE else value >> 3)
    if flags >> 2 & 1:
        yield _read(file, 4)


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("the file is truncated")
    return data


def _skip(file: BinaryIO, size: int) -> None:
    while size:
        size -= len(_read(file, min(size, STEP)))

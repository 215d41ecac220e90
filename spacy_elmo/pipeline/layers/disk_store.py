"""Store activations on disk, for sweeps over a component's settings and several components on one text.

Each biLM has a folder, named after all that its vectors depend on. Each process writes two files of its own,
and reads those of all processes that existed when it began, so concurrent trainings need no lock:
    ID.layers  arrays (L, n, D) of sentences, concatenated
    ID.index   a record for each: key, offset, units, checksum
A truncated record, or one that does not fit its vectors, is ignored, and its vectors are computed again.
"""

import os
import uuid
import warnings
import zlib
from io import FileIO
from pathlib import Path
from struct import Struct

import numpy as np

from ...locks import ForkSafeLock

RECORD = Struct("<16sQII")


class DiskStore:
    """Thread-safe VectorStore on disk, see activation_cache.

    If the disk is full, caching stops with a warning; training continues. `close`, the end of a `with` block
    and garbage collection close the files; stored arrays stay for later stores.

    Args:
        folder: Folder, created with the first array.
        shape: L and D of all arrays.
        half: Store float16.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], *, half: bool):
        self.folder = folder
        self.used = 0
        self._n_layers, self._width = shape
        self._type = np.dtype("<f2" if half else "<f4")
        self._places: dict[bytes, tuple[Path, int, int, int | None]] = {}  # None: known to be whole
        self._maps: dict[Path, np.ndarray] = {}
        self._own: Path | None = None
        self._files: tuple[FileIO, FileIO] | None = None
        self._process = os.getpid()
        self._failed = self._closed = False
        self._lock = ForkSafeLock()
        for index in sorted(folder.glob("*.index")):
            self._read_index(index)

    def __len__(self) -> int:
        return len(self._places)

    def __enter__(self) -> "DiskStore":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._close_files()  # no lock, because no other reference exists

    def close(self) -> None:
        """Close the files. Threads that still use the store find nothing in it and store nothing."""
        with self._lock:
            self._closed = True
            self._places, self._maps = {}, {}
            self._close_files()

    def _close_files(self) -> None:
        files, self._files = getattr(self, "_files", None), None
        for file in files or ():
            file.close()

    def get(self, key: bytes) -> np.ndarray | None:
        """Return the array of a key, stored by this process or an earlier one; None if there is none."""
        with self._lock:
            return self._read(key)

    def _read(self, key: bytes) -> np.ndarray | None:
        place = self._places.get(key)
        if place is None:
            return None
        path, begin, units, checksum = place
        size = self._size(units)
        data = self._data(path, begin + size)[begin : begin + size]
        if len(data) < size or (checksum is not None and _checksum(key, units, data) != checksum):
            del self._places[key]
            return None
        self._places[key] = (path, begin, units, None)
        return data.view(self._type).reshape(self._n_layers, units, self._width)

    def put(self, key: bytes, layers: np.ndarray) -> None:
        """Store an array. If writing fails, warn once and store nothing from then on."""
        try:
            with self._lock:
                # A fork shares its parent's files.
                if self._failed or self._closed or os.getpid() != self._process or key in self._places:
                    return
                self._write(key, np.ascontiguousarray(layers))
        except OSError as error:
            self._failed = True
            warnings.warn(
                f"Vectors are no longer cached in {self.folder}, which cannot be written: {error}. "
                "The training continues without the cache.",
                stacklevel=2,
            )

    def _write(self, key: bytes, layers: np.ndarray) -> None:
        if self._files is None or self._own is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._own = self.folder / f"{uuid.uuid4().hex}.layers"
            data = _open(self._own)
            try:
                self._files = data, _open(self._own.with_suffix(".index"))
            except BaseException:
                data.close()
                raise
        data, index = self._files
        begin = data.tell()
        _append(data, layers.data)
        checksum = _checksum(key, layers.shape[1], layers)
        _append(index, RECORD.pack(key, begin, layers.shape[1], checksum))
        self._places[key] = (self._own, begin, layers.shape[1], checksum)
        self.used += layers.nbytes

    def _read_index(self, index: Path) -> None:
        try:
            data = index.read_bytes()
        except OSError:
            return  # another process has removed it
        path = index.with_suffix(".layers")
        whole = len(data) - len(data) % RECORD.size
        for key, begin, units, checksum in RECORD.iter_unpack(data[:whole]):
            if key not in self._places:
                self._places[key] = (path, begin, units, checksum)
                self.used += self._size(units)

    def _size(self, units: int) -> int:
        return self._type.itemsize * self._n_layers * units * self._width

    def _data(self, path: Path, size: int) -> np.ndarray:
        """Return the bytes of a file, at least `size` of them if it has as many."""
        known = self._maps.get(path)
        if known is None or len(known) < size:
            try:
                known = np.memmap(path, dtype=np.uint8, mode="c")
            except (OSError, ValueError):  # gone, or empty
                known = np.zeros(0, dtype=np.uint8)
            self._maps[path] = known
        return known


def _open(path: Path) -> FileIO:
    """Open a file for appending, without a buffer: a forked child would write the buffer a second time."""
    return path.open("ab", buffering=0)


def _append(file: FileIO, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest.nbytes:
        rest = rest.cast("B")
        rest = rest[file.write(rest) :]


def _checksum(key: bytes, units: int, data: np.ndarray) -> int:
    """Return the CRC-32 of a record: with the key and the size, so that a damaged index is noticed, too."""
    return zlib.crc32(data.data, zlib.crc32(key + units.to_bytes(8, "little")))

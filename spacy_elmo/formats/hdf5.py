"""Read and write tensors in HDF5 files. The only module that needs h5py, an extra of this package."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import FormatError
from .tensor_mapping import LazyTensor, check_zip_bomb


def h5py() -> Any:
    """Import and return h5py. Raises a FormatError that says how to install it."""
    try:
        import h5py as module
    except ImportError as error:
        raise FormatError("HDF5 files need h5py: pip install 'spacy-elmo[hdf5]'.") from error
    return module


@contextmanager
def open_tensors(file: Path | io.BytesIO, where: str) -> Iterator[dict[str, LazyTensor]]:
    """Yield the datasets of a file, by their paths. where: names the file in a FormatError."""
    module = h5py()
    if isinstance(file, Path) and not file.is_file():
        raise FormatError(f"The file {file} does not exist: check the path.")
    try:
        with module.File(file, "r") as opened:
            stored: dict[str, LazyTensor] = {}
            try:
                _check_links(opened, where)
                opened.visititems(lambda name, item: _add(stored, name, item, where))
            except (ValueError, TypeError) as error:  # types that numpy does not have
                if isinstance(error, FormatError):
                    raise
                raise OSError(str(error)) from error
            yield stored
    except (OSError, RuntimeError, KeyError, OverflowError) as error:
        # h5py raises them for truncated and damaged files; OverflowError for places beyond 2^63 in a BytesIO.
        raise FormatError(f"{where} is not an HDF5 file, or is damaged: download it again.") from error


def _add(stored: dict[str, LazyTensor], name: str, item: Any, where: str) -> None:
    if isinstance(item, h5py().Group):
        _check_links(item, where)
    if isinstance(item, h5py().Dataset):
        if item.external or item.is_virtual:
            raise FormatError(
                f"{name} in {where} refers to another file, which is not read: download the file again."
            )
        stored[name] = LazyTensor(
            item.shape or (), item.dtype.name, lambda: _load(item, f"{name} in {where}")
        )


def _check_links(group: Any, where: str) -> None:
    """Raise a FormatError for a link, because it may lead to any file of this machine."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py().HardLink):
            full_name = f"{group.name.rstrip('/')}/{name}"
            raise FormatError(f"{full_name} in {where} is a link, which is not followed: download it again.")


def _load(dataset: Any, where: str) -> Tensor:
    check_zip_bomb(dataset.id.get_storage_size(), dataset.nbytes, where)
    with np.errstate(over="ignore"):  # values too large for float32 become infinite, which is refused
        # Copied to native byte order, which torch needs.
        return torch.from_numpy(dataset[()].astype("float32"))


class WatchedFile(io.FileIO):
    """File that records its first write error and then drops all data, instead of raising the error.

    HDF5 cannot abandon a file that cannot be written: it reports the error a hundred times, and crashes.
    """

    def __init__(self, path: Path):
        super().__init__(path, "w+")
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all data, or record the error."""
        rest = memoryview(data).cast("B")
        while rest and self.error is None:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self.error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Truncate the file, or record the error."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


def write_hdf5(path: Path, fill: Callable[[Any], Iterator[None]]) -> None:
    """Write a new HDF5 file. fill: writes to the open file step by step. Raises the first OSError."""
    with WatchedFile(path) as raw:
        with h5py().File(raw, "w") as opened:
            for _ in fill(opened):
                if raw.error is not None:
                    break
        if raw.error is not None:
            raise raw.error


def pack_tensors(tensors: dict[str, Tensor]) -> bytes:
    """Return the bytes of an HDF5 file with these datasets, by their paths."""
    buffer = io.BytesIO()
    with h5py().File(buffer, "w", track_order=True) as opened:
        for name, tensor in tensors.items():
            opened.create_dataset(name, data=tensor.numpy())
    return buffer.getvalue()

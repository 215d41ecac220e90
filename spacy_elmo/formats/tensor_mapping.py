"""Map the tensors of a format to parameters: name, shape, and conversion of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import FormatError
from ..progress import track

Shape = tuple[int, ...]

# Refuse compression bombs: real weights compress by far less than 100 times.
MAX_COMPRESSION_RATIO, MIN_CHECKED_BYTES = 100, 2**26


@dataclass(frozen=True)
class TensorMapping:
    """One tensor of a file, and the parameters that it becomes.

    Attributes:
        source: Name of the tensor in the file.
        shape: Shape in the file.
        targets: Names of the BiLM's parameters that it holds.
        read: Function from the tensor to the targets, in order.
        write: Its inverse; None: the format is only read.
    """

    source: str
    shape: Shape
    targets: tuple[str, ...]
    read: Callable[[Tensor], Sequence[Tensor]]
    write: Callable[..., Tensor] | None = None


@dataclass(frozen=True)
class LazyTensor:
    """A tensor in a file. kind: its type, for messages. load: reads it."""

    shape: Shape
    kind: str
    load: Callable[[], Tensor]


def map_one(
    source: str,
    shape: Shape,
    target: str,
    read: Callable[[Tensor], Tensor] | None = None,
    write: Callable[[Tensor], Tensor] | None = None,
) -> TensorMapping:
    """Map a tensor to one parameter. read: None: the tensor is read and written unchanged."""
    if read is None:
        return TensorMapping(source, shape, (target,), lambda t: (t,), lambda t: t)
    return TensorMapping(source, shape, (target,), lambda t: (read(t),), write)


def load_tensors(
    entries: Sequence[TensorMapping], stored: Mapping[str, LazyTensor], where: str
) -> dict[str, Tensor]:
    """Load the parameters in float32.

    Raises a FormatError that names what is missing, unexpected or wrong.

    Names and shapes are checked before any data is read. where: names the file.
    """
    hint = "check that the options belong to these weights, or download them again"
    shapes = {entry.source: entry.shape for entry in entries}
    missing = [name for name in shapes if name not in stored]
    extra = [name for name in stored if name not in shapes]
    if missing:
        what = f"{missing[0]} of shape {shapes[missing[0]]}{_others(missing)}"
        raise FormatError(f"{where} lacks {what}: {hint}.")
    if extra:
        what = f"{extra[0]} of shape {stored[extra[0]].shape}{_others(extra)}"
        raise FormatError(f"{where} holds {what}, which is not expected: {hint}.")
    for name, shape in shapes.items():
        if stored[name].shape != shape:
            raise FormatError(
                f"{where} holds {name} of shape {stored[name].shape}, expected {shape}: {hint}."
            )
        if "float" not in stored[name].kind:
            raise FormatError(f"{where} holds {name} as {stored[name].kind}, expected float32: {hint}.")
    parameters: dict[str, Tensor] = {}
    for entry in track(entries, "weights", unit="tensors"):
        tensor = stored[entry.source].load().float()
        if not torch.isfinite(tensor).all():
            raise FormatError(f"{entry.source} in {where} holds NaN or infinite values: download it again.")
        read = (t.contiguous() for t in entry.read(tensor))
        parameters.update(zip(entry.targets, read, strict=True))
    return parameters


def dump_tensors(entries: Sequence[TensorMapping], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by the format's names, the inverse of load_tensors."""
    tensors = {}
    for entry in entries:
        assert entry.write is not None
        tensor = entry.write(*(parameters[name].detach().cpu().float() for name in entry.targets))
        assert tensor.shape == entry.shape
        tensors[entry.source] = tensor.contiguous()
    return tensors


def require(options: Any, *path: str, where: str) -> Any:
    """Return the value at `path` in JSON options. Raises a FormatError if it is missing."""
    for key in path:
        if not isinstance(options, dict) or key not in options:
            raise FormatError(f"{'.'.join(path)} is missing in {where}: check that it is such a model.")
        options = options[key]
    return options


def check_count(what: str, n: int, stored: Mapping[str, LazyTensor], where: str) -> None:
    """Raise a FormatError if there are more layers than tensors, before a mapping of that size is built."""
    if n > len(stored):
        raise FormatError(
            f"{where} holds {len(stored)} tensors, too few for {what} = {n}: "
            "check that the options belong to these weights, or download them again."
        )


def check_zip_bomb(packed: int, unpacked: int, where: str) -> None:
    """Raise a FormatError for a small file that would fill the memory. Sizes in bytes."""
    if unpacked > max(MIN_CHECKED_BYTES, MAX_COMPRESSION_RATIO * packed):
        raise FormatError(
            f"{where} unpacks from {packed:,} to {unpacked:,} bytes or more, unlike weights: download it "
            "again."
        )


def _others(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""

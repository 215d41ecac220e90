"""Write the vectors of a corpus to HDF5 in the layout of AllenNLP's command `elmo`.

Each sentence is a dataset. The vectors are written block by block into a folder next to the output. A block
is either complete or absent, so that an interrupted run can continue. At the end the blocks are joined.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..atomic_io import END, OutputError, PathLike, check_apart, locked, write_atomic
from ..errors import FormatError
from ..inference.bilm import BiLM
from ..json_text import parse_json
from ..modeling.serialization import CONFIG_FILE
from ..progress import progress_bar, track
from ..syscalls import flush
from ..text import split_characters
from .hdf5 import h5py, write_hdf5

Dtype = Literal["float32", "float16"]

SENTENCES = "sentence_to_index"  # AllenNLP's name; a JSON object of sentence -> number
BLOCK = 8192  # units whose vectors are held at once: 100 MB for three layers of 1024
RECORD = "run.json"
KIND = "spacy-elmo.vectors"  # attribute "kind" of the root of files that this module wrote


@dataclass(frozen=True)
class ExportSettings:
    """Settings of the export. An unfinished run can only continue with the same settings.

    Attributes:
        layers: "all" (L, n, D), "average" (n, D), or "top" or the number of a layer (n, D).
        dtype: Type of the numbers.
    """

    layers: str = "all"
    dtype: Dtype = "float32"

    def check(self, n_layers: int) -> None:
        """Raise a FormatError for layers that the model does not have."""
        numbers = [str(i) for i in range(n_layers)]
        if self.layers not in ("all", "average", "top", *numbers):
            known = f'"all", "average", "top" or one of {", ".join(numbers)}'
            raise FormatError(f"--layers {self.layers} is not known: use {known}.")
        if self.dtype not in get_args(Dtype):
            raise FormatError(f'Vectors of {self.dtype} cannot be written: use "float32" or "float16".')

    def of(self, layers: np.ndarray) -> np.ndarray:
        """Select what is written from (L, n, D) float32."""
        if self.layers == "average":
            layers = layers.mean(axis=0)
        elif self.layers != "all":
            layers = layers[-1 if self.layers == "top" else int(self.layers)]
        return layers.astype(self.dtype)


def export_vectors(
    bilm: BiLM,
    model: PathLike,
    text: PathLike,
    output: PathLike,
    vectors: ExportSettings,
    *,
    read: Callable[[Path], Iterable[str]],
    keep_sentences: bool = True,
) -> int:
    """Write the vectors of a text with one sentence per line, and return the number of sentences.

    White space separates words; models of characters read the characters of the line. The datasets are named
    "0", "1", ... after the lines, including empty ones.

    Args:
        bilm: The model.
        model: The folder of `bilm`, which identifies the model of an unfinished run.
        text: The text.
        output: The HDF5 file to write.
        vectors: What to write.
        read: Function that yields the lines of a text, each complete.
        keep_sentences: Write the lines too, as AllenNLP does.

    Raises:
        ElmoError: The text cannot be read, or `output` is a file that this function did not write.
    """
    vectors.check(bilm.n_layers)
    source, target = Path(text), Path(output)
    check_output(target, [model, source])
    with locked(target, "vectors"):
        return _embed(bilm, Path(model), read, source, target, vectors, keep_sentences)


def check_output(output: PathLike, sources: Iterable[PathLike]) -> None:
    """Raise an OutputError unless vectors can be written to `output`: it is free, or an older such file.

    sources: input files, which must not contain the output.
    """
    target = Path(output)
    if target.is_dir():
        raise OutputError(f"Cannot write {target}: it is a folder; name a file.")
    check_apart(sources, target)
    if (target.exists() or target.is_symlink()) and not _is_ours(target):
        raise OutputError(
            f"Cannot write vectors to {target}: it is another file; name a new one, or remove it."
        )


def _is_ours(path: Path) -> bool:
    try:
        with h5py().File(path, "r") as file:
            return bool(file.attrs.get("kind") == KIND)
    except (OSError, RuntimeError, KeyError):  # not an HDF5 file, or a damaged one
        return False


def _embed(
    bilm: BiLM,
    model: Path,
    read: Callable[[Path], Iterable[str]],
    source: Path,
    target: Path,
    vectors: ExportSettings,
    keep_sentences: bool,
) -> int:
    """Do the work of export_vectors, after the output was checked and locked."""
    digest, total = _scan_text(source, read)
    record = {
        "kind": KIND,
        "model": sha256((model / CONFIG_FILE).read_bytes()).hexdigest(),
        "text": digest,
        **asdict(vectors),
    }
    blocks = _open_blocks(target, record)
    done = sum(int(path.stem.split("-")[1]) for path in _finished(blocks))
    lines = islice(_lines(source, read), done, None)
    with progress_bar("vectors", total, "sentences", done=done) as advance:
        while done < total:
            block = list(_next_block(lines, bilm))
            units = [_units(line, bilm) for line in block]
            arrays = {str(done + i): vectors.of(layers) for i, layers in enumerate(bilm.encode(units))}
            _write(blocks / f"{done:012}-{len(block)}.h5", blocks, partial(_add, arrays))
            done += len(block)
            advance(len(block))
    index = partial(_lines, source, read) if keep_sentences else None
    _write(target, blocks, partial(_join, blocks, index))
    # From the last block on, so that a run that is killed here leaves the first blocks without a gap.
    for path in (*reversed(_finished(blocks)), blocks / RECORD):
        path.unlink()
    with suppress(OSError):  # files of others stay
        blocks.rmdir()
    return total


def _finished(blocks: Path) -> list[Path]:
    """Return the finished blocks in order, up to the first gap."""
    found, done = [], 0
    for path in sorted(path for path in blocks.iterdir() if re.fullmatch(r"\d{12,}-\d+\.h5", path.name)):
        start, size = map(int, path.stem.split("-"))
        if start == done:
            found.append(path)
            done += size
    return found


def _open_blocks(target: Path, record: dict[str, Any]) -> Path:
    """Return the folder of the blocks, with those of an unfinished run with the same settings."""
    blocks = target.with_name(f"{target.name}.blocks")
    if blocks.exists() and any(blocks.iterdir()):
        stored = None
        with suppress(OSError, ValueError):
            stored = parse_json((blocks / RECORD).read_bytes())
        if stored != record:
            raise OutputError(
                f"{blocks} holds an unfinished run with another model, text or settings: "
                "finish that run, remove the folder, or name another output."
            )
        for scratch in blocks.glob(f".*{END}"):  # left by a killed run
            scratch.unlink()
    else:
        write_atomic(blocks / RECORD, json.dumps(record).encode("utf8"))
    return blocks


def _scan_text(source: Path, read: Callable[[Path], Iterable[str]]) -> tuple[str, int]:
    """Return the checksum and the number of lines of a text, after reading all of it."""
    h5py()
    digest, n = sha256(), 0
    for line in _lines(source, read):
        n += 1
        digest.update(line.encode("utf8") + b"\n")
    if not n:
        raise FormatError(f"The text {source} is empty: give a text with at least one sentence.")
    return digest.hexdigest(), n


def _lines(source: Path, read: Callable[[Path], Iterable[str]]) -> Iterator[str]:
    return (line.strip() for line in read(source))


def _next_block(lines: Iterator[str], bilm: BiLM) -> Iterator[str]:
    """Yield the lines of the next block: at least one, until BLOCK units are reached."""
    units = 0
    for line in lines:
        yield line
        units += len(_units(line, bilm)) + 2
        if units >= BLOCK:
            return


def _units(line: str, bilm: BiLM) -> list[str]:
    if bilm.config.units == "word":
        return line.split()
    return split_characters(line, fold_fullwidth=bilm.config.fold_fullwidth)[0]


def _write(path: Path, blocks: Path, fill: Callable[[Any], Iterator[None]]) -> None:
    """Write an HDF5 file under a temporary name and rename it when it is complete."""
    scratch = blocks / f".{path.name}{END}"
    try:
        write_hdf5(scratch, fill)
        flush(scratch)
        os.replace(scratch, path)
        flush(path.parent)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}. Run the same command to continue."
        ) from error
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def _add(arrays: dict[str, np.ndarray], file: Any) -> Iterator[None]:
    for name, array in arrays.items():
        file.create_dataset(name, data=array)
        yield


def _join(blocks: Path, lines: Callable[[], Iterable[str]] | None, file: Any) -> Iterator[None]:
    """Copy all blocks into one file. lines: the sentences to write too; None: do not write them."""
    file.attrs["kind"] = KIND
    for path in track(_finished(blocks), "file", unit="blocks"):
        with h5py().File(path, "r") as block:
            for name in block:
                file.copy(block[name], name)
                yield
    if lines is not None:
        index = {line: str(i) for i, line in enumerate(lines())}
        text = file.create_dataset(SENTENCES, (1,), dtype=h5py().string_dtype())
        text[0] = json.dumps(index, ensure_ascii=False)

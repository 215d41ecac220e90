"""Vectors of a corpus in HDF5, in the layout of AllenNLP's command `elmo`: a dataset for each sentence.

The vectors are written block by block into a folder beside the output, each block complete or not there, so
that an interrupted run goes on where it was; at the end the blocks are joined.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..bilm.atomic import OutputError, PathLike, write_atomic
from ..bilm.folder import CONFIG
from ..bilm.model import BiLM
from ..bilm.text import characters
from .hdf5 import h5py, write_hdf5
from .tables import FormatError

Dtype = Literal["float32", "float16"]

SENTENCES = "sentence_to_index"  # AllenNLP's name; a JSON object of sentence -> number
BLOCK = 8192  # units whose vectors are held at once: 100 MB for three layers of 1024
RECORD = "run.json"


@dataclass(frozen=True)
class Vectors:
    """What is written. An unfinished run goes on only with the same.

    layers: "all" (L, n, D), "average" (n, D), "top" or the number of a layer (n, D). dtype: of the numbers.
    """

    layers: str = "all"
    dtype: Dtype = "float32"

    def check(self, n_layers: int) -> None:
        """Raise a FormatError for layers that a model does not have."""
        numbers = [str(i) for i in range(n_layers)]
        if self.layers not in ("all", "average", "top", *numbers):
            known = f'"all", "average", "top" or one of {", ".join(numbers)}'
            raise FormatError(f"The model has no layers {self.layers}: use {known}.")
        if self.dtype not in get_args(Dtype):
            raise FormatError(f'Vectors of {self.dtype} cannot be written: use "float32" or "float16".')

    def of(self, layers: np.ndarray) -> np.ndarray:
        """(L, n, D) float32 -> what is written of it."""
        if self.layers == "average":
            layers = layers.mean(axis=0)
        elif self.layers != "all":
            layers = layers[-1 if self.layers == "top" else int(self.layers)]
        return layers.astype(self.dtype)


def embed_file(
    bilm: BiLM,
    model: PathLike,
    text: PathLike,
    output: PathLike,
    vectors: Vectors,
    *,
    keep_sentences: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write the vectors of a text of one sentence a line; returns the number of sentences.

    Words are what white space parts; models of characters read the characters of the line. The datasets are
    "0", "1", ... by lines, empty ones included. keep_sentences: write the lines too, as AllenNLP does.
    model: the folder of `bilm`, by which an unfinished run is known to be of the same model.
    progress: called with the lines done and their total. Raises an ElmoError.
    """
    vectors.check(bilm.n_layers)
    source, target = Path(text), Path(output)
    digest, total = _survey(source)
    record = {
        "model": sha256((Path(model) / CONFIG).read_bytes()).hexdigest(),
        "text": digest,
        **asdict(vectors),
    }
    blocks = _open_blocks(target, record)
    done = sum(int(path.stem.split("-")[1]) for path in blocks.glob("*.h5"))
    progress(done, total)
    lines = islice(_lines(source), done, None)
    while done < total:
        block = list(_take(lines, bilm))
        units = [_units(line, bilm) for line in block]
        arrays = {str(done + i): vectors.of(layers) for i, layers in enumerate(bilm.encode(units))}
        _write(blocks / f"{done:012}-{len(block)}.h5", blocks, partial(_add, arrays))
        done += len(block)
        progress(done, total)
    _write(target, blocks, partial(_join, blocks, source if keep_sentences else None))
    shutil.rmtree(blocks)
    return total


def _open_blocks(target: Path, record: dict[str, Any]) -> Path:
    """The folder of the blocks, with those that an unfinished run of the same kind left."""
    h5py()
    if target.is_dir():
        raise OutputError(f"Cannot write {target}: it is a folder; name a file.")
    blocks = target.with_name(f"{target.name}.blocks")
    if blocks.exists():
        stored = None
        with suppress(OSError, ValueError):
            stored = json.loads((blocks / RECORD).read_bytes())
        if stored != record:
            raise OutputError(
                f"{blocks} holds an unfinished run of another model, text or settings: "
                "finish that one, remove the folder, or name another output."
            )
        for scratch in blocks.glob(".*"):  # of a run that was killed
            scratch.unlink()
    else:
        write_atomic(blocks / RECORD, json.dumps(record).encode("utf8"))
    return blocks


def _survey(source: Path) -> tuple[str, int]:
    """Checksum and lines of a text, all of which can be read."""
    digest, n = sha256(), 0
    for line in _lines(source):
        n += 1
        digest.update(line.encode("utf8") + b"\n")
    if not n:
        raise FormatError(f"The text {source} is empty: there is no sentence in it.")
    return digest.hexdigest(), n


def _lines(source: Path) -> Iterator[str]:
    n = 0
    try:
        with source.open("rb") as file:
            for n, raw in enumerate(file, 1):
                yield raw.decode("utf-8-sig" if n == 1 else "utf-8").strip()
    except UnicodeDecodeError as error:
        raise FormatError(f"{source}, line {n} is not UTF-8: convert the file.") from error
    except OSError as error:
        raise FormatError(f"The text {source} cannot be read: {error.strerror}.") from error


def _take(lines: Iterator[str], bilm: BiLM) -> Iterator[str]:
    """The lines of the next block: at least one, and of BLOCK units or a line more."""
    units = 0
    for line in lines:
        yield line
        units += len(_units(line, bilm)) + 2
        if units >= BLOCK:
            return


def _units(line: str, bilm: BiLM) -> list[str]:
    if bilm.config.units == "word":
        return line.split()
    return characters(line, normalized=bilm.config.normalize)[0]


def _write(path: Path, blocks: Path, fill: Callable[[Any], Iterator[None]]) -> None:
    """An HDF5 file, complete among the blocks before it is moved to its place."""
    scratch = blocks / f".{path.name}.{os.getpid()}"
    try:
        write_hdf5(scratch, fill)
        os.replace(scratch, path)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}. The same command goes on from here."
        ) from error
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def _add(arrays: dict[str, np.ndarray], file: Any) -> Iterator[None]:
    for name, array in arrays.items():
        file.create_dataset(name, data=array)
        yield


def _join(blocks: Path, source: Path | None, file: Any) -> Iterator[None]:
    for path in sorted(blocks.glob("*.h5")):
        with h5py().File(path, "r") as block:
            for name in block:
                file.copy(block[name], name)
                yield
    if source is not None:
        index = {line: str(i) for i, line in enumerate(_lines(source))}
        text = file.create_dataset(SENTENCES, (1,), dtype=h5py().string_dtype())
        text[0] = json.dumps(index, ensure_ascii=False)

"""Read and write labels of a corpus's units, such as the tags that an analyser predicts for its characters.

manifest.json: names of the labels, digest of the corpus, and the shards with their checksums.
shard-N.labels.npy: (tokens,) int16, numbers of the names for the units of the corpus's shard N, -1 for none.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic_io import FolderKind, PathLike, atomic_folder
from ...errors import CorpusError
from ...json_text import parse_json
from ...modeling.cross_entropy import IGNORE_INDEX
from .corpus import MANIFEST, Corpus, file_digest

FORMAT_VERSION = 1
MAX_LABELS = 2**15
UNIT_LABELS = FolderKind(
    name="labels of a corpus",
    marker=MANIFEST,
    kind="spacy-elmo.unit-labels",
    keys=frozenset({"format_version", "corpus", "names", "shards"}),
    files=("shard-*.labels.npy",),
)


class UnitLabels:
    """Labels of the units of a corpus, opened for reading. They stay on disk until they are accessed.

    Args:
        path: Folder of the labels.
        corpus: The corpus that they belong to.
        verify: Read all shards and compare their checksums.

    Attributes:
        names: Names of the labels, by number.
        source: Origin and licence of the labels.
        digest: SHA-256 of the manifest, and thus of the labels.

    Raises:
        CorpusError: The folder is missing, damaged, or belongs to another corpus.
    """

    def __init__(self, path: PathLike, corpus: Corpus, *, verify: bool = False):
        self.path, self.corpus = Path(path), corpus
        manifest = self._read_manifest()
        if manifest["corpus"] != corpus.digest:
            raise CorpusError(
                f"{self.path} labels another corpus than {corpus.path}: label the units of this one."
            )
        self.names: list[str] = manifest["names"]
        self.source: str = manifest["source"]
        sizes = [shard["tokens"] for shard in corpus.manifest["shards"]]
        if len(sizes) != len(manifest["shards"]):
            raise self._damaged()
        self._shards = [self._map(number, size) for number, size in enumerate(sizes)]
        for number, digest in enumerate(manifest["shards"] if verify else ()):
            with (self.path / _name_of(number)).open("rb") as file:
                if file_digest(file) != digest:
                    raise self._damaged()

    def __getitem__(self, i: int) -> np.ndarray:
        """Return the labels of sentence i's units: (n,) int16. Raises a CorpusError for unknown ones."""
        shard, units = self.corpus.position(i)
        labels: np.ndarray = self._shards[shard][units]
        if not IGNORE_INDEX <= labels.min(initial=0) <= labels.max(initial=0) < len(self.names):
            raise self._damaged()
        return labels

    def _read_manifest(self) -> dict[str, Any]:
        try:
            data = (self.path / MANIFEST).read_bytes()
        except OSError:
            raise _not_labels(self.path) from None
        self.digest = sha256(data).hexdigest()
        other = newer = complete = False
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            manifest: dict[str, Any] = parse_json(data)
            other = manifest.get("kind", UNIT_LABELS.kind) != UNIT_LABELS.kind
            newer = manifest["format_version"] > FORMAT_VERSION
            complete = _is_complete(manifest)
        if other:
            raise _not_labels(self.path)
        if newer:
            raise CorpusError(f"{self.path} was made by a newer spacy-elmo: update spacy-elmo.")
        if not complete:
            raise self._damaged()
        return manifest

    def _map(self, number: int, size: int) -> np.ndarray:
        try:
            array = np.load(self.path / _name_of(number), mmap_mode="r", allow_pickle=False)
        except Exception as error:  # numpy reads the header as Python's literals: anything can come
            raise self._damaged() from error
        if array.shape != (size,) or array.dtype != np.int16:
            raise self._damaged()
        return np.asarray(array)  # a view, because slices of np.memmap are slow

    def _damaged(self) -> CorpusError:
        return CorpusError(f"The labels in {self.path} are damaged: make them again.")


def write_unit_labels(
    path: PathLike, corpus: Corpus, names: Sequence[str], labels: Iterable[Sequence[int]], *, source: str = ""
) -> None:
    """Write a folder with labels of the units of a corpus.

    Args:
        path: The folder.
        corpus: The corpus.
        names: Names of the labels, all different.
        labels: For each sentence of the corpus, in its order, the number of each unit's label; -1 for none.
        source: Origin and licence of the labels, for the description of models that learn them.

    Raises:
        CorpusError: The labels do not fit the corpus or the names.
        OutputError: The folder cannot be written.
    """
    names = _checked_names(names)
    remaining = iter(labels)
    with atomic_folder(path, UNIT_LABELS) as folder:
        digests, first = [], 0
        for number, shard in enumerate(corpus.manifest["shards"]):
            rows = []
            for i in range(first, first + shard["sentences"]):
                rows.append(_checked(next(remaining, None), i, int(corpus.lengths[i]), len(names)))
            first += shard["sentences"]
            file = folder / _name_of(number)
            np.save(file, np.concatenate(rows))
            digests.append(sha256(file.read_bytes()).hexdigest())
        if next(remaining, None) is not None:
            raise CorpusError(f"There are labels for more than the {first:,} sentences of {corpus.path}.")
        manifest = {
            "kind": UNIT_LABELS.kind,
            "format_version": FORMAT_VERSION,
            "corpus": corpus.digest,
            "names": names,
            "source": source,
            "shards": digests,
        }
        text = json.dumps(manifest, indent=2) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf8")


def label_origin(inherited: dict[str, Any], labels: UnitLabels | None) -> dict[str, str]:
    """Return what the description of a model says about labels: the sources of its parent's and of its own.

    inherited: description of the parent, or what it has passed on. Empty for a model without any labels.
    """
    sources = [str(inherited["labels"])] if "labels" in inherited else []
    if labels is not None:
        sources.append(labels.source or "unknown source")
    return {"labels": "; ".join(dict.fromkeys(sources))} if sources else {}


def _checked_names(names: Sequence[str]) -> list[str]:
    if not 0 < len(names) <= MAX_LABELS:
        raise CorpusError(f"There are {len(names):,} labels: give 1 to {MAX_LABELS:,}.")
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise CorpusError("The names of the labels must be texts, each of them once.")
    return list(names)


def _checked(labels: Sequence[int] | None, i: int, length: int, n_labels: int) -> np.ndarray:
    """Return the labels of sentence i as an array, if they fit. Raises a CorpusError."""
    if labels is None:
        raise CorpusError(f"There are labels for {i:,} sentences only: label all sentences of the corpus.")
    try:
        row = np.asarray(labels)
    except ValueError:  # lists of different lengths
        row = np.empty((), dtype=object)
    if row.dtype.kind not in "iu" or row.ndim != 1:
        raise CorpusError(f"Sentence {i:,} needs a whole number for each unit, -1 for no label.")
    if len(row) != length:
        raise CorpusError(f"Sentence {i:,} has {length} units, but {len(row)} labels: label each unit.")
    if not IGNORE_INDEX <= row.min() <= row.max() < n_labels:
        raise CorpusError(f"A label of sentence {i:,} is not between -1 and {n_labels - 1}.")
    return row.astype(np.int16)


def _is_complete(manifest: dict[str, Any]) -> bool:
    names, shards = manifest["names"], manifest["shards"]
    return (
        isinstance(names, list)
        and isinstance(shards, list)
        and 0 < len(names) <= MAX_LABELS
        and all(isinstance(text, str) for text in (manifest["corpus"], manifest["source"], *names, *shards))
    )


def _not_labels(path: Path) -> CorpusError:
    return CorpusError(f"{path} is not a folder of labels: make one with write_unit_labels.")


def _name_of(number: int) -> str:
    return f"shard-{number:05d}.labels.npy"

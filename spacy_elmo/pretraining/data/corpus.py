"""Read unit ids on disk: memory-mapped shards with a manifest and the unit counts.

manifest.json: segmentation settings, counts, and the shards with their checksums. vocab_counts.tsv: one line
per listed unit with its count, most frequent first. shard-N.ids.npy: (tokens,) int32, ranks in
vocab_counts.tsv; the number after the last rank stands for all unlisted units. shard-N.lengths.npy:
(sentences,) int32.
"""

from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np

from ...atomic_io import FolderKind, PathLike
from ...errors import CorpusError
from ...json_text import parse_json
from ...modeling.vocab import Vocab
from ...progress import track

MANIFEST, VOCAB_COUNTS_FILE = "manifest.json", "vocab_counts.tsv"
FORMAT_VERSION = 1
CORPUS = FolderKind(
    name="a corpus",
    marker=MANIFEST,
    kind="spacy-elmo.corpus",
    keys=frozenset({"format_version", "units", "segmenter", "types", "shards"}),
    files=(VOCAB_COUNTS_FILE, "shard-*.ids.npy", "shard-*.lengths.npy"),
)


class Corpus:
    """A corpus folder, opened for reading. The ids stay on disk until they are accessed.

    Attributes:
        manifest: Counts and settings.
        digest: SHA-256 of the manifest, and thus of the corpus.
        lengths: (S,), units of each sentence.
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)
        self.manifest = self._read_manifest()
        self._shards, lengths = [], []
        for shard in self.manifest["shards"]:
            ids_name, lengths_name = sorted(shard["sha256"])
            self._shards.append(self._map(ids_name, shard["tokens"]))
            lengths.append(self._map(lengths_name, shard["sentences"]))
            if lengths[-1].sum(dtype=np.int64) != shard["tokens"] or lengths[-1].min(initial=1) < 1:
                raise _corrupted(self.path / lengths_name)
        self.lengths = np.concatenate(lengths)
        ends = [np.cumsum(part, dtype=np.int64) for part in lengths]
        self._starts = np.concatenate([end - part for end, part in zip(ends, lengths, strict=True)])
        numbers = np.arange(len(lengths), dtype=np.min_scalar_type(len(lengths)))
        self._shard_of = np.repeat(numbers, [len(part) for part in lengths])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, i: int) -> np.ndarray:
        """Return the ranks of sentence i's units: (n,) int32. Raises a CorpusError for a negative one."""
        shard, units = self.position(i)
        ranks: np.ndarray = self._shards[shard][units]
        if ranks.min(initial=0) < 0:
            raise _corrupted(self.path)
        return ranks

    def position(self, i: int) -> tuple[int, slice]:
        """Return where sentence i is: the number of its shard, and its units there."""
        start = int(self._starts[i])
        return int(self._shard_of[i]), slice(start, start + int(self.lengths[i]))

    def verify(self) -> None:
        """Read all shards and compare their checksums, in about one second per GB. Raises a CorpusError."""
        for shard in track(self.manifest["shards"], "checksums", unit="shards"):
            for name, digest in shard["sha256"].items():
                with (self.path / name).open("rb") as file:
                    if file_digest(file) != digest:
                        raise _corrupted(self.path / name)

    def counts(self) -> list[tuple[str, int]]:
        """Return the listed units with their counts, most frequent first."""
        try:
            data = (self.path / VOCAB_COUNTS_FILE).read_bytes()
            digest = sha256(data).hexdigest()
            if self.manifest.get("sha256", {}).get(VOCAB_COUNTS_FILE, digest) != digest:
                raise _corrupted(self.path / VOCAB_COUNTS_FILE)
            rows = data.decode("utf8").split("\n")[:-1]
            counted = [(unit, int(count)) for unit, count in (row.rsplit("\t", 1) for row in rows)]
        except (OSError, ValueError) as error:
            raise _corrupted(self.path / VOCAB_COUNTS_FILE) from error
        if len(counted) != self.manifest["types"]:
            raise _corrupted(self.path / VOCAB_COUNTS_FILE)
        return counted

    def vocab(
        self,
        *,
        min_count: int = 1,
        max_size: int | None = None,
        spelled: bool = False,
        uses_bytes: bool = False,
    ) -> Vocab:
        """Return a vocabulary of at most `max_size` units that occur at least `min_count` times.

        spelled: include the characters of these units, for a char-CNN. uses_bytes: the char-CNN reads bytes
        instead. Raises a CorpusError if no unit is frequent enough.
        """
        units = [unit for unit, count in self.counts()[:max_size] if count >= min_count]
        if not units:
            raise CorpusError(f"No unit of {self.path} occurs {min_count} times: lower min_count.")
        counter = Counter(character for unit in units for character in unit) if spelled else Counter()
        ordered = [c for c, _ in sorted(counter.items(), key=lambda item: (-item[1], item[0]))]
        return Vocab(units, ordered, fold_fullwidth=self.manifest["fold_fullwidth"], uses_bytes=uses_bytes)

    def _read_manifest(self) -> dict[str, Any]:
        if not (self.path / MANIFEST).is_file():
            raise CorpusError(f"{self.path} is not a corpus folder: make one with `spacy elmo corpus`.")
        data = (self.path / MANIFEST).read_bytes()
        self.digest = sha256(data).hexdigest()
        newer = complete = False
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            manifest: dict[str, Any] = parse_json(data)
            newer = manifest["format_version"] > FORMAT_VERSION
            complete = _is_complete(manifest)
        if newer:
            raise CorpusError(
                f"{self.path} was made by a newer spacy-elmo: update spacy-elmo, or make the corpus again."
            )
        if not complete:
            raise CorpusError(f"The {MANIFEST} of {self.path} is damaged: make the corpus again.")
        return manifest

    def _map(self, name: str, size: int) -> np.ndarray:
        try:
            array = np.load(self.path / name, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # numpy reads the header as Python's literals: anything can come
            raise _corrupted(self.path / name) from error
        if array.shape != (size,) or array.dtype != np.int32:
            raise _corrupted(self.path / name)
        return np.asarray(array)  # a view, because slices of np.memmap are slow


def _corrupted(path: Path) -> CorpusError:
    return CorpusError(f"{path} is {'damaged' if path.exists() else 'missing'}: make the corpus again.")


def file_digest(file: BinaryIO) -> str:
    """Return the SHA-256 of a file, in constant memory."""
    digest = sha256()
    while data := file.read(2**20):
        digest.update(data)
    return digest.hexdigest()


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files in a folder."""
    digest = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest.update(f"{path.relative_to(folder).as_posix()}\n{file_digest(file)}\n".encode())
    return digest.hexdigest()


def _is_complete(manifest: dict[str, Any]) -> bool:
    settings = {"units", "segmenter", "lang", "fold_fullwidth", "max_sentence_length"}
    shards = manifest["shards"]
    sizes = [manifest["types"], *(shard[key] for shard in shards for key in ("tokens", "sentences"))]
    files = [shard["sha256"].keys() for shard in shards]
    return (
        settings <= manifest.keys()
        and isinstance(manifest.get("sha256", {}), dict)
        and all(type(size) is int and size >= 0 for size in sizes)
        and len(files) > 0
        and all(len(names) == 2 for names in files)
        and all(PurePath(name).name == name for names in files for name in names)
    )

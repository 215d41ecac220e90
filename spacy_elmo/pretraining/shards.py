"""Unit ids on disk: memory-mapped shards with a manifest and the counted units."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..bilm.atomic import atomic_folder
from ..bilm.vocab import Vocab
from .segment import CorpusError

MANIFEST, TYPES = "manifest.json", "units.tsv"
FORMAT_VERSION = 1
SHARD_UNITS = 2**24


def write_corpus(
    path: str | os.PathLike[str],
    sentences: Iterable[Sequence[str]],
    *,
    settings: dict[str, Any],
    shard_units: int = SHARD_UNITS,
) -> dict[str, Any]:
    """Write sentences of units as a corpus folder and return its manifest.

    Ids are ranks by frequency, over all distinct units: how many of them become the vocabulary is
    decided at training. settings: how the text was cut (units, segmenter, lang, ...), kept in the
    manifest. Nothing is left behind when an error comes, or when there is no sentence (CorpusError).
    """
    with atomic_folder(path, MANIFEST, "a corpus") as folder:
        index: dict[str, int] = {}  # unit -> provisional id, in the order of appearance
        counts: Counter[int] = Counter()
        shards = []
        for number, batch in enumerate(_batches(sentences, shard_units)):
            flat = [index.setdefault(unit, len(index)) for sentence in batch for unit in sentence]
            counts.update(flat)
            lengths = np.array([len(sentence) for sentence in batch], dtype=np.int32)
            shards.append(_Shard(folder, number, np.array(flat, dtype=np.int32), lengths))
        if not shards:
            raise CorpusError("The corpus is empty: there is no sentence in the input.")
        order = sorted(index.values(), key=lambda i: (-counts[i], i))
        rank = np.empty(len(order), dtype=np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        names = list(index)
        rows = "".join(f"{names[i]}\t{counts[i]}\n" for i in order)
        (folder / TYPES).write_bytes(rows.encode("utf8"))
        manifest = {
            "format_version": FORMAT_VERSION,
            **settings,
            "sentences": sum(shard.sentences for shard in shards),
            "tokens": sum(shard.tokens for shard in shards),
            "types": len(order),
            "shards": [shard.finish(rank) for shard in shards],
        }
        (folder / MANIFEST).write_text(
            json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", encoding="utf8"
        )
    return manifest


def _batches(sentences: Iterable[Sequence[str]], shard_units: int) -> Iterator[list[Sequence[str]]]:
    batch: list[Sequence[str]] = []
    size = 0
    for sentence in sentences:
        batch.append(sentence)
        size += len(sentence)
        if size >= shard_units:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Shard:
    """One shard while the corpus is written: provisional ids first, ranks in the end."""

    def __init__(self, folder: Path, number: int, ids: np.ndarray, lengths: np.ndarray):
        self.ids = folder / f"shard-{number:05d}.ids.npy"
        self.lengths = folder / f"shard-{number:05d}.lengths.npy"
        self.sentences, self.tokens = len(lengths), len(ids)
        np.save(self.ids, ids)
        np.save(self.lengths, lengths)

    def finish(self, rank: np.ndarray) -> dict[str, Any]:
        np.save(self.ids, rank[np.load(self.ids)])
        digests = {p.name: sha256(p.read_bytes()).hexdigest() for p in (self.ids, self.lengths)}
        return {"sentences": self.sentences, "tokens": self.tokens, "sha256": digests}


class Corpus:
    """A corpus folder, opened for reading; the ids stay on disk until they are asked for.

    manifest: counts and settings. digest: SHA-256 of the manifest, and so of the corpus.
    lengths: (S,) units of each sentence.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.manifest = self._read_manifest()
        self._shards, lengths = [], []
        for shard in self.manifest["shards"]:
            ids_name, lengths_name = sorted(shard["sha256"])
            self._shards.append(self._map(ids_name, shard["tokens"]))
            lengths.append(self._map(lengths_name, shard["sentences"]))
            if lengths[-1].sum(dtype=np.int64) != shard["tokens"]:
                raise CorpusError(f"{self.path / lengths_name} is damaged: make the corpus again.")
        self.lengths = np.concatenate(lengths)
        ends = [np.cumsum(part, dtype=np.int64) for part in lengths]
        self._starts = np.concatenate([end - part for end, part in zip(ends, lengths, strict=True)])
        self._shard_of = np.repeat(np.arange(len(lengths)), [len(part) for part in lengths])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, i: int) -> np.ndarray:
        """Ranks of sentence i's units: (n,) int32."""
        start = self._starts[i]
        return self._shards[self._shard_of[i]][start : start + self.lengths[i]]

    def counts(self) -> list[tuple[str, int]]:
        """Every distinct unit with its count, most frequent first."""
        try:
            rows = (self.path / TYPES).read_bytes().decode("utf8").split("\n")[:-1]
            counted = [(unit, int(count)) for unit, count in (row.rsplit("\t", 1) for row in rows)]
        except (OSError, ValueError) as error:
            raise CorpusError(f"{self.path / TYPES} is missing or damaged: make the corpus again.") from error
        if len(counted) != self.manifest["types"]:
            raise CorpusError(f"{self.path / TYPES} is damaged: make the corpus again.")
        return counted

    def vocab(
        self,
        *,
        min_count: int = 1,
        max_size: int | None = None,
        spelled: bool = False,
        in_bytes: bool = False,
    ) -> Vocab:
        """The most frequent units: at least `min_count` times, at most `max_size` of them.

        spelled: with the characters of these units too, for a char-CNN. in_bytes: it reads bytes instead.
        """
        units = [unit for unit, count in self.counts()[:max_size] if count >= min_count]
        if not units:
            raise CorpusError(f"No unit of {self.path} occurs {min_count} times: lower min_count.")
        counter = Counter(character for unit in units for character in unit) if spelled else Counter()
        ordered = [c for c, _ in sorted(counter.items(), key=lambda item: (-item[1], item[0]))]
        return Vocab(units, ordered, normalized=self.manifest["normalize"], in_bytes=in_bytes)

    def _read_manifest(self) -> dict[str, Any]:
        if not (self.path / MANIFEST).is_file():
            raise CorpusError(f"{self.path} is no corpus folder: make one with `spacy elmo corpus`.")
        data = (self.path / MANIFEST).read_bytes()
        self.digest = sha256(data).hexdigest()
        newer = complete = False
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            manifest = json.loads(data)
            newer = manifest["format_version"] > FORMAT_VERSION
            complete = _is_complete(manifest)
        if newer:
            raise CorpusError(f"{self.path} was made by a newer spacy-elmo: update, or make it again.")
        if not complete:
            raise CorpusError(f"The {MANIFEST} of {self.path} is damaged: make the corpus again.")
        return manifest

    def _map(self, name: str, size: int) -> np.ndarray:
        try:
            array = np.load(self.path / name, mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise CorpusError(f"{self.path / name} is missing or damaged: make the corpus again.") from error
        if array.shape != (size,):
            raise CorpusError(f"{self.path / name} is damaged: make the corpus again.")
        return array


def _is_complete(manifest: dict[str, Any]) -> bool:
    settings = {"units", "segmenter", "lang", "normalize", "max_sentence"}
    shards = manifest["shards"]
    sizes = [manifest["types"], *(shard[key] for shard in shards for key in ("tokens", "sentences"))]
    files = [shard["sha256"].keys() for shard in shards]
    return (
        settings <= manifest.keys()
        and all(isinstance(size, int) for size in sizes)
        and len(files) > 0
        and all(len(names) == 2 for names in files)
    )

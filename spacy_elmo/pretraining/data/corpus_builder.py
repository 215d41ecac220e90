"""Build a corpus folder from text: blocks are segmented in parallel, and finished parts survive a kill."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b, sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic_io import END, PathLike, atomic_folder, check_apart, check_replaceable, locked, write_atomic
from ...batching import minibatch_by_size
from ...errors import CorpusError
from ...locks import ForkSafeLock
from ...progress import track
from . import parallel
from .corpus import CORPUS, FORMAT_VERSION, MANIFEST, VOCAB_COUNTS_FILE, folder_digest
from .corpus_parts import CorpusPart, encode_part, is_part, merge_counts
from .segmentation import Segmenter, make_segmenter, sentences
from .text_files import BLOCK, ReadStats, find_files, iter_blocks

SHARD_UNITS = 2**24
MAX_TYPES = 1_000_000
SEGMENTERS = {"jieba": "jieba", "pkuseg": "spacy-pkuseg"}  # package of each segmenter name of spaCy


_loading = ForkSafeLock()
_last_segmenter: tuple[tuple[str, str, str, bool], Segmenter] | None = None  # and what it was made for


@dataclass(frozen=True)
class SegmentationSettings:
    """Segmentation settings, recorded in the manifest of a corpus and in models that are trained on it."""

    units: str = "char"
    segmenter: str = "char"
    lang: str = "zh"
    fold_fullwidth: bool = True
    max_sentence_length: int = 128

    def segment(self) -> Segmenter:
        """Return the segmenter, which is loaded once per process."""
        global _last_segmenter
        key = self.units, self.segmenter, self.lang, self.fold_fullwidth
        with _loading:
            if _last_segmenter is None or _last_segmenter[0] != key:
                _last_segmenter = (
                    key,
                    make_segmenter(self.units, self.segmenter, self.lang, fold_fullwidth=self.fold_fullwidth),
                )
            return _last_segmenter[1]

    def versions(self) -> dict[str, str]:
        """Return what else the result depends on: package versions and the digest of a segmenter folder."""
        found: dict[str, str] = {}
        if self.units == "char":
            return found
        kind, _, model = self.segmenter.partition(":")
        for name in ("spacy", SEGMENTERS.get(kind, "")):
            with suppress(PackageNotFoundError, ValueError):
                found[name] = version(name)
        folder = Path(model or kind)
        if folder.is_dir():
            found["sha256"] = folder_digest(folder)
        return found


def build_corpus(
    inputs: Iterable[Path],
    output: Path,
    settings: SegmentationSettings,
    *,
    n_process: int = 1,
    backend: str = "loky",
    dedup: bool = False,
    min_count: int = 1,
    max_vocab: int = MAX_TYPES,
    block: int = BLOCK,
) -> dict[str, Any]:
    """Build a corpus folder from text files and return its manifest.

    Finished parts are stored in a hidden folder next to `output`, named after their text and segmentation. A
    killed run finds its parts again, even if other input has changed. The corpus is byte-identical for any
    number of processes.

    Args:
        inputs: Text files or folders.
        output: The corpus folder.
        settings: Segmentation settings.
        n_process: Number of processes, see parallel.parallel_map.
        backend: Where the processes run, see parallel.parallel_map.
        dedup: Keep only the first of equal lines.
        min_count: Least count of a listed unit. All unlisted units share one id.
        max_vocab: Largest number of listed units.
        block: Characters of a part.

    Raises:
        CorpusError: The text cannot be read.
    """
    check_replaceable(output, CORPUS)  # before the work, not after it
    inputs = list(inputs)
    check_apart(inputs, output)
    files = find_files(inputs)
    segment = settings.segment()
    recorded = {**asdict(settings), "segmenter": segment.name}
    parts, stats = _PartCache(output, recorded, settings.versions()), ReadStats()
    with locked(parts.folder, CORPUS.name), parts.kept_until_done():
        stream = iter_blocks(files, stats, dedup=dedup, size=block)
        for key, data in parallel.parallel_map(
            process_block, parts.missing(stream, settings), n_process=n_process, backend=backend
        ):
            parts.add(key, data)
        with atomic_folder(output, CORPUS) as folder:
            manifest = _assemble(
                folder,
                [parts.path(key) for key in parts.keys],
                {**recorded, "versions": settings.versions(), "text": asdict(stats)},
                min_count=min_count,
                max_vocab=max_vocab,
            )
    return manifest


def process_block(key: str, block: str, settings: SegmentationSettings) -> tuple[str, bytes]:
    """Return a block of lines as a part, with its key. Runs in the workers."""
    segment = settings.segment()
    try:
        with segment.memory_zone():
            found = (
                s
                for line in block.split("\n")
                for s in sentences(line, segment, settings.max_sentence_length)
            )
            return key, encode_part(found)
    except Exception as error:  # a tokenizer may raise any error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorpusError(f'The segmenter "{segment.name}" failed on this text: {reason}') from error


class _PartCache:
    """Folder of finished parts, next to the corpus that is being built."""

    def __init__(self, output: Path, recorded: dict[str, Any], versions: dict[str, str]):
        target = output.resolve()
        self.folder = target.with_name(f".{target.name}.partial")
        self.keys: list[str] = []
        self._salt = json.dumps([FORMAT_VERSION, recorded, versions], sort_keys=True).encode()

    def missing(
        self, stream: Iterable[str], settings: SegmentationSettings
    ) -> Iterator[tuple[str, str, SegmentationSettings]]:
        """Yield the blocks that have no part yet, or a damaged one, as arguments of process_block."""
        for block in stream:
            key = blake2b(self._salt + block.encode("utf8"), digest_size=20).hexdigest()
            self.keys.append(key)
            if not is_part(self.path(key)):
                yield key, block, settings

    def path(self, key: str) -> Path:
        """Return the path of a part."""
        return self.folder / f"{key}.safetensors"

    def add(self, key: str, data: bytes) -> None:
        """Store a part."""
        write_atomic(self.path(key), data)

    @contextmanager
    def kept_until_done(self) -> Iterator[None]:
        """Remove the parts when the corpus is complete; after an error, remove only an empty folder."""
        try:
            yield
            for path in self.folder.glob("*"):
                if re.fullmatch(r"[0-9a-f]{40}\.safetensors", path.name) or path.name.endswith(END):
                    path.unlink()
        finally:
            with suppress(OSError):
                self.folder.rmdir()


def write_corpus(
    path: PathLike,
    sentences: Iterable[Sequence[str]],
    *,
    settings: dict[str, Any],
    shard_units: int = SHARD_UNITS,
    min_count: int = 1,
    max_vocab: int = MAX_TYPES,
) -> dict[str, Any]:
    """Write sentences of units as a corpus folder and return its manifest, for segmented text.

    settings: segmentation settings (units, segmenter, lang, ...) for the manifest. After an error nothing is
    left. Raises a CorpusError if there are no sentences.
    """
    with atomic_folder(path, CORPUS) as folder:
        paths = []
        for number, batch in enumerate(minibatch_by_size(sentences, shard_units, len)):
            paths.append(folder / f"{number}.part")
            paths[-1].write_bytes(encode_part(batch))
        manifest = _assemble(folder, paths, settings, min_count=min_count, max_vocab=max_vocab)
        for scratch in paths:
            scratch.unlink()
    return manifest


def _assemble(
    folder: Path, parts: Sequence[Path], settings: dict[str, Any], *, min_count: int, max_vocab: int
) -> dict[str, Any]:
    """Write the corpus of all parts into an empty folder: ids are ranks by frequency over all parts."""
    types, distinct = merge_counts(parts, min_count=min_count, max_vocab=max_vocab)
    rows = b"".join(b"%s\t%d\n" % (unit, -count) for count, _, _, unit in types)
    (folder / VOCAB_COUNTS_FILE).write_bytes(rows)
    ranks = {unit: rank for rank, (_, _, _, unit) in enumerate(types)}
    shards: list[dict[str, Any]] = []
    for path in track(parts, "shards"):
        part = CorpusPart(path)
        if len(part.lengths()):
            shards.append(_write_shard(folder, len(shards), part, ranks))
    if not shards:
        raise CorpusError("The input has no sentences: give text with at least one.")
    if not types:
        raise CorpusError(f"No unit occurs {min_count} times: lower --min-count.")
    tokens = sum(shard["tokens"] for shard in shards)
    manifest = {
        "kind": CORPUS.kind,
        "format_version": FORMAT_VERSION,
        **settings,
        "sentences": sum(shard["sentences"] for shard in shards),
        "tokens": tokens,
        "types": len(types),
        "distinct": distinct,
        "unlisted_tokens": tokens + sum(count for count, _, _, _ in types),
        "sha256": {VOCAB_COUNTS_FILE: sha256(rows).hexdigest()},
        "shards": shards,
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf8")
    return manifest


def _write_shard(folder: Path, number: int, part: CorpusPart, ranks: dict[bytes, int]) -> dict[str, Any]:
    rank = np.empty(part.types, dtype=np.int32)
    for unit, index, _ in part.units():
        rank[index] = ranks.get(unit, len(ranks))
    arrays = {"ids": rank[part.ids()], "lengths": part.lengths()}
    digests = {}
    for kind, array in arrays.items():
        path = folder / f"shard-{number:05d}.{kind}.npy"
        np.save(path, array)
        digests[path.name] = sha256(path.read_bytes()).hexdigest()
    return {"sentences": len(arrays["lengths"]), "tokens": len(arrays["ids"]), "sha256": digests}

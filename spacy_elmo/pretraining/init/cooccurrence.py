"""Compute vectors of n-grams from their neighbours in a corpus, before any training (PPMI and SVD).

A biLM reads an n-gram a few times in an hour of training, while counting covers all of them in minutes.
N-grams with similar neighbours get similar vectors, so names start near names and verbs near verbs.
"""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...modeling.static_vectors import normalize_rms
from ...modeling.vocab import SPECIALS, UNK, Vocab
from ...progress import track
from ...seeds import derive_seed
from ..data.corpus import Corpus
from .ngram_selection import SENTENCE_BOUNDARY, read_ids

MAX_COUNTED_UNITS = 80_000_000  # most units to count: they take 3 GB of memory
NEIGHBOURS = 3000  # most frequent units that count as neighbours; all others count as one
PAIRS = 8000  # most frequent pairs of neighbours
CONTEXT_SMOOTHING = 0.75  # exponent of the neighbours' frequencies (Levy et al. 2015, section 3.2)
OVERSAMPLING, ITERATIONS = 32, 3  # parameters of the subspace iteration
N_SLOTS = 6  # context slots: on either side, one unit, the next one, and both
TINY = 1e-12
STD = 0.5  # root mean square of the vectors; that of unit vectors is 1

COLUMNS = max(NEIGHBOURS + 2, PAIRS)  # columns of a context slot
CHUNK = 4_000_000  # units whose n-grams are looked up together

Triples = tuple[np.ndarray, np.ndarray, np.ndarray]


def ppmi_svd_vectors(
    corpus: Corpus, vocab: Vocab, width: int, *, units: int = MAX_COUNTED_UNITS, seed: int = 0
) -> Tensor:
    """Return vectors of a vocabulary's n-grams, (n, width) float32, with root mean square STD.

    The vectors are U sqrt(S) of the truncated singular value decomposition U S V of the positive pointwise
    mutual information max(0, log p(x, c) / (p(x) p(c))) of n-grams x and contexts c: the unit on either side,
    the unit after it, and both together, each position separately (Levy and Goldberg 2014; Levy et al. 2015).
    N-grams that do not occur get zeros, as do columns beyond the rank of the matrix.

    Args:
        corpus: The corpus.
        vocab: Vocabulary with the n-grams; units in descending order of frequency.
        width: Width of the vectors.
        units: Of a larger corpus, count about this many, in blocks from all of it.
        seed: Seed of the decomposition.
    """
    ids = read_ids(corpus, units)
    rows = np.concatenate(list(ngram_rows(vocab, ids)))
    slots = [_ppmi(rows, context) for context in _slots(ids, 2, vocab.max_ngram_length)]
    found = _truncated_svd(slots, len(vocab.ngrams), width, seed)
    return found * (STD / found.square().mean().sqrt().clamp(min=TINY))


def static_vectors(
    corpus: Corpus, vocab: Vocab, width: int, *, units: int = MAX_COUNTED_UNITS, seed: int = 0
) -> tuple[list[str], Tensor]:
    """Return the static vectors of a vocabulary's units and n-grams: strings, and (n, width) float32.

    As ppmi_svd_vectors, but single units have rows too, and each row has root mean square 1. See
    modeling.static_vectors.
    """
    ids = read_ids(corpus, units)
    size, longest = len(vocab.units), vocab.max_ngram_length if vocab.ngrams else 1
    alone = np.where((ids >= 0) & (ids < size), ids + 1, 0).astype(np.int32)
    rows = np.empty((len(ids), longest), dtype=np.int32)
    rows[:, 0] = alone
    if longest > 1:
        for i, longer in enumerate(ngram_rows(vocab, ids)):
            rows[i * CHUNK : (i + 1) * CHUNK, 1:] = np.where(longer > 0, longer + size, 0)
    slots = [_ppmi(rows, context) for context in _slots(ids, 1, longest)]
    found = _truncated_svd(slots, size + len(vocab.ngrams), width, seed)
    return [*vocab.units, *vocab.ngrams], torch.from_numpy(normalize_rms(found.numpy()))


def ngram_rows(vocab: Vocab, ids: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the n-grams that end at each unit, by chunks: (n, max_ngram_length - 1) int32, 0 for none."""
    return (_rows(vocab, ids, first) for first in range(0, len(ids), CHUNK))


def _rows(vocab: Vocab, ids: np.ndarray, first: int) -> np.ndarray:
    """Return the n-grams that end at each unit of a chunk: (n, max_ngram_length - 1) int32, 0 for none."""
    before = min(first, vocab.max_ngram_length - 1)  # where they may begin
    ids = ids[first - before : first + CHUNK]
    known = (ids != SENTENCE_BOUNDARY) & (ids < len(vocab.units))
    return vocab.ngram_rows(np.where(known, ids + len(SPECIALS), UNK)[None])[0, before:].astype(np.int32)


def _slots(ids: np.ndarray, shortest: int, longest: int) -> Iterator[list[tuple[np.ndarray, int]]]:
    return track(_context_slots(ids, shortest, longest), "neighbours", total=N_SLOTS)


def _context_slots(ids: np.ndarray, shortest: int, longest: int) -> Iterator[list[tuple[np.ndarray, int]]]:
    """Yield each context slot: for each length of n-grams, the neighbours and their offset to the last unit.

    A neighbour is a number from 0, or -1 for a pair that is not counted.
    """
    single = np.where(ids < NEIGHBOURS, ids, NEIGHBOURS).astype(np.int16)
    single[ids == SENTENCE_BOUNDARY] = NEIGHBOURS + 1
    pairs = _frequent_pairs(single)  # pairs of consecutive units
    for behind, further, what in ((1, 1, single), (2, 2, single), (1, 1, pairs)):
        yield [(what, behind)] * (longest + 1 - shortest)
        wide = 1 if what is pairs else 0
        yield [(what, -(n - 1) - further - wide) for n in range(shortest, longest + 1)]


def _frequent_pairs(single: np.ndarray) -> np.ndarray:
    size = NEIGHBOURS + 2
    keys = single[:-1].astype(np.int32) * size + single[1:]
    found, counts = np.unique(keys, return_counts=True)
    chosen = np.sort(found[np.argsort(-counts, kind="stable")[:PAIRS]])
    positions = np.minimum(np.searchsorted(chosen, keys), len(chosen) - 1)
    out = np.full(len(single), -1, dtype=np.int16)
    out[:-1] = np.where(chosen[positions] == keys, positions, -1)
    return out


def _ppmi(rows: np.ndarray, context: list[tuple[np.ndarray, int]]) -> Triples:
    """Return the positive PMI of n-grams and neighbours in one context slot: row, column, value."""
    parts = [_counts(rows[:, k], what, offset) for k, (what, offset) in enumerate(context)]
    row, column, count = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not len(row):
        return row, column, count.astype(np.float32)
    total = np.bincount(row, count)
    smooth = np.bincount(column, count) ** CONTEXT_SMOOTHING
    value = np.log(count * smooth.sum() / (total[row] * smooth[column])).astype(np.float32)
    kept = value > 0
    return row[kept], column[kept], value[kept]


def _counts(rows: np.ndarray, what: np.ndarray, offset: int) -> Triples:
    """Count how often each n-gram has each neighbour: n-gram from 0, neighbour, count."""
    at = np.flatnonzero(rows)
    at = at[(at + offset >= 0) & (at + offset < len(what))]
    neighbour = what[at + offset].astype(np.int64)
    keys = ((rows[at].astype(np.int64) - 1) * COLUMNS + neighbour)[neighbour >= 0]
    found, counts = np.unique(keys, return_counts=True)
    return (found // COLUMNS).astype(np.int32), (found % COLUMNS).astype(np.int32), counts.astype(np.float64)


def _truncated_svd(slots: list[Triples], n: int, width: int, seed: int) -> Tensor:
    """Return the first `width` left singular vectors, each times the root of its singular value."""
    row, value = (np.concatenate([slot[i] for slot in slots]) for i in (0, 2))
    column = np.concatenate([slot[1] + k * COLUMNS for k, slot in enumerate(slots)])
    out = torch.zeros(n, width)
    if not len(row):
        return out
    matrix = _sparse(row, column, value, (n, len(slots) * COLUMNS))
    turned = _sparse(column, row, value, (len(slots) * COLUMNS, n))
    # Subspace iteration (Halko et al. 2011, algorithm 4.4).
    rank = min(width + OVERSAMPLING, *matrix.shape)
    generator = torch.Generator().manual_seed(derive_seed(seed, "neighbours"))
    right = torch.randn(matrix.shape[1], rank, generator=generator)
    for _ in track(range(1 + ITERATIONS), "decomposition"):
        left = torch.linalg.qr(matrix @ right)[0]
        right = torch.linalg.qr(turned @ left)[0]
    u, s, _ = torch.linalg.svd(matrix @ right, full_matrices=False)
    found = (u * s.sqrt())[:, :width]
    # Set empty rows to exactly zero: for a matrix of lower rank they hold rounding errors.
    counted = torch.from_numpy(np.unique(row)).long()
    out[counted, : found.shape[1]] = found[counted]
    return out


def _sparse(row: np.ndarray, column: np.ndarray, value: np.ndarray, shape: tuple[int, int]) -> Tensor:
    order = np.lexsort((column, row))
    starts = np.zeros(shape[0] + 1, dtype=np.int32)
    np.cumsum(np.bincount(row, minlength=shape[0]), out=starts[1:])
    with warnings.catch_warnings():  # torch warns that CSR tensors are in beta
        warnings.simplefilter("ignore")
        crow, col, values = map(torch.from_numpy, (starts, column[order].astype(np.int32), value[order]))
        return torch.sparse_csr_tensor(crow, col, values, size=shape)

"""The n-grams of a corpus that are worth a row of their own: the most frequent ones."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..bilm.config import BiLMConfig
from ..bilm.folder import vocab_of
from ..bilm.vocab import Vocab
from .shards import Corpus

UNITS = 20_000_000  # that are counted at most: half a GB of memory, and the frequent ones are found in less
BLOCK = 4096  # sentences that are read one after the other
BORDER = -1


def with_ngrams(corpus: Corpus, config: BiLMConfig, vocab: Vocab, min_count: int) -> tuple[BiLMConfig, Vocab]:
    """A vocabulary with the n-grams that the model has rows for, fewer where the corpus has no more."""
    if not config.ngrams:
        return config, vocab
    found = frequent_ngrams(corpus, vocab, config.ngrams, config.longest_ngram, min_count=min_count)
    return replace(config, ngrams=len(found)), vocab_of(config, vocab.units, vocab.characters, found)


def frequent_ngrams(
    corpus: Corpus, vocab: Vocab, number: int, longest: int, *, min_count: int = 1, units: int = UNITS
) -> list[str]:
    """At most `number` n-grams of 2 to `longest` units of the vocabulary, most frequent first.

    Of equal frequency, the shorter comes first, then that of the more frequent units. An n-gram lies in one
    sentence, and occurs at least `min_count` times. vocab: the most frequent units of this corpus.
    units: of a corpus with more than that, about as many are counted, in blocks from all of it.
    """
    ids = _read(corpus, units)
    size = len(vocab.units)
    counted = [_top(ids, n, size, number, min_count) for n in range(2, longest + 1)]
    keys, counts = (np.concatenate(parts) for parts in zip(*counted, strict=True))
    lengths = np.repeat(np.arange(2, longest + 1), [len(keys) for keys, _ in counted])
    order = np.lexsort((keys, lengths, -counts))[:number]
    return ["".join(vocab.units[i] for i in _digits(int(keys[i]), int(lengths[i]), size)) for i in order]


def _read(corpus: Corpus, units: int) -> np.ndarray:
    """Ranks of units, sentence by sentence with a BORDER behind each: int32."""
    step = -(-int(corpus.lengths.sum(dtype=np.int64)) // units)
    parts = [part for block in range(0, len(corpus), step * BLOCK) for part in _block(corpus, block)]
    return np.concatenate(parts)


def _block(corpus: Corpus, first: int) -> Iterator[np.ndarray]:
    border = np.array([BORDER], dtype=np.int32)
    for i in range(first, min(first + BLOCK, len(corpus))):
        yield corpus[i]
        yield border


def _top(ids: np.ndarray, n: int, size: int, number: int, min_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys of the most frequent n-grams, digits to the base of `size`, and their counts."""
    windows = len(ids) - n + 1
    keys, known = np.zeros(max(0, windows), dtype=np.int64), np.ones(max(0, windows), dtype=bool)
    for k in range(n if windows > 0 else 0):
        some = ids[k : k + windows]
        keys = keys * size + some
        known &= (some != BORDER) & (some < size)
    keys = keys[known]
    keys.sort()
    new = np.ones(len(keys), dtype=bool)
    new[1:] = keys[1:] != keys[:-1]
    first = np.flatnonzero(new)
    counts = np.diff(first, append=len(keys))
    often = np.flatnonzero(counts >= min_count)
    often = often[np.argsort(-counts[often], kind="stable")[:number]]  # stable: of equal ones the smaller key
    return keys[first[often]], counts[often]


def _digits(key: int, n: int, size: int) -> list[int]:
    return [key // size**k % size for k in reversed(range(n))]

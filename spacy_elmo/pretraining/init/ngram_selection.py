"""Select the n-grams of a corpus that get an embedding: frequent ones that are like words."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ...errors import ElmoError
from ...modeling.config import BiLMConfig
from ...modeling.serialization import vocab_of
from ...modeling.vocab import Vocab
from ...progress import track
from ..data.corpus import Corpus

MAX_COUNTED_UNITS = 80_000_000  # most units to count: they take 3 GB of memory
PMI_WEIGHT, MAX_PMI = 0.3, 6.0  # finds a tenth more words of a tagged text than frequency alone
BLOCK = 4096  # consecutive sentences to read
SENTENCE_BOUNDARY = -1
MAX_STATIC_LENGTH = 4  # characters of a string that has a static vector
MIN_STATIC_COUNT = 5  # least count of such a string: rarer ones have too few neighbours

Counted = tuple[np.ndarray, np.ndarray]


def with_ngrams(corpus: Corpus, config: BiLMConfig, vocab: Vocab, min_count: int) -> tuple[BiLMConfig, Vocab]:
    """Return the vocabulary with the n-grams of the model; fewer if the corpus has no more."""
    if not config.n_ngrams:
        return config, vocab
    found = select_ngrams(corpus, vocab, config.n_ngrams, config.max_ngram_length, min_count=min_count)
    return replace(config, n_ngrams=len(found)), vocab_of(config, vocab.units, vocab.characters, found)


def static_vocab(corpus: Corpus, config: BiLMConfig, vocab: Vocab) -> Vocab:
    """Return the strings that get static vectors, at most config.n_static_vectors of them.

    For characters: the most frequent units, at most half of the rows, then the n-grams most like words. For
    words: the most frequent ones.
    """
    if config.units == "word":
        words = [
            word for word, count in corpus.counts()[: config.n_static_vectors] if count >= MIN_STATIC_COUNT
        ]
        return vocab_of(config, words or vocab.units[:1])
    units = vocab.units[: max(1, config.n_static_vectors // 2)]
    known = vocab_of(config, units)
    left = config.n_static_vectors - len(units)
    found = select_ngrams(corpus, known, left, MAX_STATIC_LENGTH, min_count=MIN_STATIC_COUNT)
    return vocab_of(replace(config, max_ngram_length=MAX_STATIC_LENGTH), units, ngrams=found)


def select_ngrams(
    corpus: Corpus,
    vocab: Vocab,
    number: int,
    longest: int,
    *,
    min_count: int = 1,
    units: int = MAX_COUNTED_UNITS,
) -> list[str]:
    """Return at most `number` n-grams of 2 to `longest` letters, those most like words first.

    The rank is log c(x) + PMI_WEIGHT * min(i(x), MAX_PMI), where i(x) is the smallest pointwise mutual
    information of any split of x into two parts: parts that meet by chance do not make a word. Of equal rank,
    the shorter n-gram comes first, then that of the more frequent units. N-grams do not cross sentences, and
    occur at least `min_count` times.

    Args:
        corpus: The corpus.
        vocab: The most frequent units of this corpus.
        number: Largest number of n-grams.
        longest: Largest number of units of an n-gram.
        min_count: Least count of an n-gram.
        units: Of a larger corpus, count about this many, in blocks from all of it.

    Raises:
        ElmoError: The vocabulary has too many units for n-grams of that length.
    """
    size = len(vocab.units)
    if size**longest >= 2**63:  # n-grams are numbers of int64, see _counted
        raise ElmoError(
            f"{size:,} units are too many for n-grams of {longest}: use fewer units or shorter n-grams."
        )
    ids = read_ids(corpus, units)
    letters = np.array([unit.isalpha() for unit in vocab.units], dtype=bool)
    known = (ids != SENTENCE_BOUNDARY) & (ids < size)
    known[known] = letters[ids[known]]
    counted = [_counted(ids, known, n, size) for n in track(range(1, longest + 1), "n-grams")]
    parts = [_ranked(counted, n, size, number, min_count) for n in track(range(2, longest + 1), "ranks")]
    keys, ranks = (np.concatenate(part) for part in zip(*parts, strict=True))
    lengths = np.repeat(np.arange(2, longest + 1), [len(some) for some, _ in parts])
    order = np.lexsort((keys, lengths, -ranks))[:number]
    return ["".join(vocab.units[i] for i in _digits(int(keys[i]), int(lengths[i]), size)) for i in order]


def read_ids(corpus: Corpus, units: int) -> np.ndarray:
    """Return the ranks of units, with SENTENCE_BOUNDARY after each sentence: int32.

    units: about how many units of a larger corpus to return, in blocks from all parts of it.
    """
    step = -(-int(corpus.lengths.sum(dtype=np.int64)) // units)
    blocks = track(range(0, len(corpus), step * BLOCK), "ids")
    parts = [part for block in blocks for part in _block(corpus, block)]
    return np.concatenate(parts)


def _block(corpus: Corpus, first: int) -> Iterator[np.ndarray]:
    border = np.array([SENTENCE_BOUNDARY], dtype=np.int32)
    for i in range(first, min(first + BLOCK, len(corpus))):
        yield corpus[i]
        yield border


def _counted(ids: np.ndarray, known: np.ndarray, n: int, size: int) -> Counted:
    """Return the n-grams of known units, as ascending numbers to the base of `size`, and their counts."""
    windows = max(0, len(ids) - n + 1)
    keys, whole = np.zeros(windows, dtype=np.int64), np.ones(windows, dtype=bool)
    for k in range(n):
        keys = keys * size + ids[k : k + windows]
        whole &= known[k : k + windows]
    return np.unique(keys[whole], return_counts=True)


def _ranked(counted: list[Counted], n: int, size: int, number: int, min_count: int) -> Counted:
    """Return the best n-grams, as numbers, and their ranks (see select_ngrams)."""
    keys, counts = counted[n - 1]
    often = counts >= min_count
    keys, counts = keys[often], counts[often]
    total = counted[0][1].sum()
    cohesion = np.full(len(keys), MAX_PMI)
    for left in range(1, n):  # units of the left part
        begin, rest = np.divmod(keys, size ** (n - left))
        alone = _count(counted[left - 1], begin), _count(counted[n - left - 1], rest)
        cohesion = np.minimum(cohesion, np.log(counts * (total / alone[0]) / alone[1]))
    ranks = np.log(counts) + PMI_WEIGHT * cohesion
    best = np.argsort(-ranks, kind="stable")[:number]  # stable: of equal ranks the smaller key
    return keys[best], ranks[best]


def _count(counted: Counted, keys: np.ndarray) -> np.ndarray:
    return counted[1][np.searchsorted(counted[0], keys)]


def _digits(key: int, n: int, size: int) -> list[int]:
    return [key // size**k % size for k in reversed(range(n))]

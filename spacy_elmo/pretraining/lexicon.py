"""Count the strings of a corpus that are most like words, with their vectors, for a lexicon."""

import numpy as np

from ..modeling.config import BiLMConfig
from ..modeling.vocab import Vocab
from ..progress import track
from .data.corpus import Corpus
from .init.cooccurrence import CHUNK, ngram_rows, static_vectors
from .init.ngram_selection import read_ids, static_vocab

MAX_UNITS = 80_000_000  # most units to count: they take 3 GB of memory


def count_lexicon(corpus: Corpus, n_strings: int, width: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Count a corpus of characters: strings, (n, width) float32 vectors, (n,) int64 counts.

    Characters come first, then the strings of 2 to 4 characters that are most like words (see static_vocab).
    There are fewer than n_strings if the corpus has no more frequent ones.
    """
    config = BiLMConfig(units="char", n_static_vectors=n_strings, static_dim=width)
    vocab = static_vocab(corpus, config, corpus.vocab())
    strings, vectors = static_vectors(corpus, vocab, width)
    return strings, vectors.numpy(), count_strings(corpus, vocab)


def count_strings(corpus: Corpus, vocab: Vocab, *, units: int = MAX_UNITS) -> np.ndarray:
    """Count the units and n-grams of a vocabulary: (n,) int64, in their order.

    vocab: the most frequent units of this corpus. units: about how many units of a larger corpus to count.
    """
    ids, size = read_ids(corpus, units), len(vocab.units)
    singles = np.bincount(ids[(ids >= 0) & (ids < size)], minlength=size)
    ngrams = np.zeros(len(vocab.ngrams) + 1, dtype=np.int64)  # row 0 means "none"
    for rows in track(ngram_rows(vocab, ids), "strings", total=-(-len(ids) // CHUNK)):
        ngrams += np.bincount(rows.ravel(), minlength=len(ngrams))
    return np.concatenate([singles, ngrams[1:]])

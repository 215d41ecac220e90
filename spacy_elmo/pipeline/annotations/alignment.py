"""Align units with tokens: the units of a text, and the states that make a token's vector.

For a model of words, units are tokens. For a model of characters, units are the characters of a sentence,
regardless of the tokens, so different segmenters of the same text use states of the same sequence.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...kernels import token_ops as native
from ...text import normalize, sentence_spans, split_characters, split_evenly

_NOT_SPACE = re.compile(r"\S")


@dataclass(frozen=True)
class Alignment:
    """The units of a text, and the units of each token. m tokens have units, k units belong to tokens."""

    sentences: list[list[str]]
    """Units of each sentence, in order; sentences that are too long are split."""
    n_tokens: int
    """Number of tokens, including those without units."""
    token_ids: np.ndarray
    """(m,), the tokens with units, ascending; all others are white space and get zeros."""
    unit_starts: np.ndarray
    """(m,), index in `unit_ids` of the first unit of each of these tokens."""
    unit_ids: np.ndarray
    """(k,), the units that belong to tokens, as indices into all units of all sentences."""

    @property
    def n_units(self) -> int:
        """Number of units of all sentences."""
        return sum(map(len, self.sentences))

    @property
    def is_identity(self) -> bool:
        """Whether units and tokens correspond one to one."""
        return len(self.token_ids) == self.n_tokens == self.n_units

    def output_slices(self, layers: np.ndarray) -> list[np.ndarray]:
        """Return the part of each sentence in (L, n_tokens, D), if units are tokens."""
        ends = np.cumsum([len(sentence) for sentence in self.sentences], dtype=np.int64).tolist()
        return [layers[:, begin:end] for begin, end in pairwise([0, *ends])]


def align_characters(
    text: str, starts: np.ndarray, ends: np.ndarray, limit: int, *, fold_fullwidth: bool = True
) -> Alignment:
    """Align tokens with characters: each token has its own characters except white space.

    Args:
        text: The text.
        starts: (n_tokens,), offsets of the tokens, which follow one another without overlap.
        ends: (n_tokens,), offsets after the tokens.
        limit: Units of a sentence above which it is split (BiLMConfig.max_sentence_length).
        fold_fullwidth: Fold full-width letters and digits (BiLMConfig.fold_fullwidth).
    """
    sentences: list[list[str]] = []
    if text.split() == [text]:  # no white space: a unit for each character
        all_units = list(normalize(text) if fold_fullwidth else text)
        for begin, end in sentence_spans(text):
            sentences.extend(all_units[begin + a : begin + b] for a, b in split_evenly(end - begin, limit))
        tokens = np.flatnonzero(ends > starts)
        return Alignment(sentences, len(starts), tokens, starts[tokens], np.arange(len(text)))
    read: list[str] = []
    offsets: list[int] = []
    for begin, end in sentence_spans(text):
        units, where = split_characters(text[begin:end], fold_fullwidth=fold_fullwidth)
        sentences.extend(units[a:b] for a, b in split_evenly(len(units), limit))
        read.extend(units)
        offsets.extend([begin + i for i in where])
    rows = np.arange(len(read))
    if " " in read:  # the unit " " between two Latin words belongs to no token
        rows = rows[[unit != " " for unit in read]]
    position = np.array(offsets, dtype=np.int64)[rows]  # ascending
    first = np.searchsorted(position, starts, side="left")
    tokens = np.flatnonzero(np.searchsorted(position, ends, side="left") > first)
    return Alignment(sentences, len(starts), tokens, first[tokens], rows)


def align_words(text: str, words: Sequence[str], starts: np.ndarray, limit: int) -> Alignment:
    """Align tokens with words: each token is a unit of the sentence in which it begins, except white space.

    words: the tokens; starts: (n_tokens,), their offsets in `text`; limit: see align_characters.
    """
    visible = [_NOT_SPACE.search(word) for word in words]
    tokens = np.asarray([i for i, found in enumerate(visible) if found], dtype=np.int64)
    begins = np.asarray([found.start() for found in visible if found], dtype=np.int64) + starts[tokens]
    spans = np.asarray([begin for begin, _ in sentence_spans(text)], dtype=np.int64)
    sentence = np.searchsorted(spans, begins, side="right")  # (m,) ascending
    cuts = [0, *(np.flatnonzero(np.diff(sentence)) + 1).tolist(), len(tokens)]
    sentences: list[list[str]] = []
    for begin, end in pairwise(cuts):
        read = [words[i].strip() for i in tokens[begin:end]]
        sentences.extend(read[a:b] for a, b in split_evenly(len(read), limit))
    each = np.arange(len(tokens))
    return Alignment(sentences, len(words), tokens, each, each)


def token_layers(
    alignments: Sequence[Alignment], states: Sequence[Sequence[np.ndarray]], n_layers: int, width: int
) -> list[np.ndarray]:
    """Return the vectors of the tokens of each text from the states of its units: (L, n_tokens, D) float32.

    Layer 0, the embedding, is the mean over the token's units. In the layers above, the forward half (the
    first D/2 columns) is the state of the token's last unit, the backward half that of its first unit: both
    states have read the whole token. states: an (L, n, D) array for each sentence of each alignment.
    """
    texts = list(zip(alignments, states, strict=True))
    if native.available():
        units = [
            native.TokenAlignment(rows, a.n_tokens, a.token_ids, a.unit_starts, a.unit_ids)
            for a, rows in texts
        ]
        return native.pool_tokens(units, n_layers, width)
    return [_layers(alignment, rows, n_layers, width) for alignment, rows in texts]


def _layers(alignment: Alignment, states: Sequence[np.ndarray], n_layers: int, width: int) -> np.ndarray:
    out = np.zeros((n_layers, alignment.n_tokens, width), dtype=np.float32)
    for j, rows in enumerate(out if states else ()):  # layer by layer, to copy less of a long text at a time
        _fill(rows, np.concatenate([state[j] for state in states]), alignment, is_embedding=j == 0)
    return out


def _fill(rows: np.ndarray, joined: np.ndarray, alignment: Alignment, *, is_embedding: bool) -> None:
    """Fill a layer of zeros, rows (n_tokens, D), from the states of the units, joined (n_units, D)."""
    tokens, starts, units = alignment.token_ids, alignment.unit_starts, alignment.unit_ids
    ends = np.append(starts[1:], len(units))
    if is_embedding and len(units) > len(tokens):  # otherwise each token has one unit, its first and last
        sums = np.zeros((len(tokens), joined.shape[1]), dtype=np.float32)
        np.add.at(sums, np.repeat(np.arange(len(tokens)), ends - starts), joined[units])  # in a fixed order
        rows[tokens] = sums / (ends - starts)[:, None]
        return
    half = joined.shape[1] // 2
    rows[tokens, :half] = joined[units[ends - 1], :half]
    rows[tokens, half:] = joined[units[starts], half:]

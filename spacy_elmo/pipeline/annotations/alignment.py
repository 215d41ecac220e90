"""Units <-> tokens: what a biLM reads in a text, and which of its states make a token's vector.

With words, the units are the tokens. With characters, they are those of the sentence whatever the
tokens are, so two segmenters of the same text get states of the same reading.
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
    """The units of one text, and those of each token. m tokens have units, k units belong to tokens."""

    sentences: list[list[str]]
    """What the biLM reads, in order: sentences, cut where they are too long."""
    n_tokens: int
    """Tokens of the text, those without units included."""
    token_ids: np.ndarray
    """(m,) the tokens that have units, ascending; all others are white space and get zeros."""
    unit_starts: np.ndarray
    """(m,) where the units of each of them begin in `unit_ids`; they end where the next one's begin."""
    unit_ids: np.ndarray
    """(k,) the units that belong to tokens, as indices into all units of all sentences."""

    @property
    def n_units(self) -> int:
        """Units of all sentences."""
        return sum(map(len, self.sentences))

    @property
    def is_identity(self) -> bool:
        """Whether the units are the tokens: all of both, one for one."""
        return len(self.token_ids) == self.n_tokens == self.n_units

    def output_slices(self, layers: np.ndarray) -> list[np.ndarray]:
        """The part of each sentence in (L, n_tokens, D), where units are tokens."""
        ends = np.cumsum([len(sentence) for sentence in self.sentences], dtype=np.int64).tolist()
        return [layers[:, begin:end] for begin, end in pairwise([0, *ends])]


def align_characters(
    text: str, starts: np.ndarray, ends: np.ndarray, limit: int, *, fold_fullwidth: bool = True
) -> Alignment:
    """For a biLM of characters: each token has its own characters that are not white space.

    starts, ends: (n_tokens,) offsets into `text` of tokens that follow one another without overlap.
    limit: units that a sentence may have before it is cut (BiLMConfig.max_sentence_length).
    fold_fullwidth: fold full-width letters and digits (BiLMConfig.normalize).
    """
    sentences: list[list[str]] = []
    if text.split() == [text]:  # no white space at all: a unit for each character
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
    own = np.arange(len(read))
    if " " in read:  # between two Latin words it is read, but is no token's own
        own = own[[unit != " " for unit in read]]
    position = np.array(offsets, dtype=np.int64)[own]  # ascending
    first = np.searchsorted(position, starts, side="left")
    tokens = np.flatnonzero(np.searchsorted(position, ends, side="left") > first)
    return Alignment(sentences, len(starts), tokens, first[tokens], own)


def align_words(text: str, words: Sequence[str], starts: np.ndarray, limit: int) -> Alignment:
    """For a biLM of words: each token is a unit of the sentence in which it begins; white space is none.

    words: the tokens; starts: (n_tokens,) their offsets into `text`; limit: as above.
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
    """Vectors of the tokens of each text from the states of its units: (L, n_tokens, D) float32.

    states: an (L, n, D) array for each sentence of each alignment. Layer 0, the embedding, is the mean
    over the token's units. Above it, the forward half (the first D/2 columns) is that of the token's
    last unit, the backward half that of its first: the states that have read all of the token.
    """
    texts = list(zip(alignments, states, strict=True))
    if native.available():
        units = [
            native.TokenAlignment(own, a.n_tokens, a.token_ids, a.unit_starts, a.unit_ids) for a, own in texts
        ]
        return native.pool_tokens(units, n_layers, width)
    return [_layers(alignment, own, n_layers, width) for alignment, own in texts]


def _layers(alignment: Alignment, states: Sequence[np.ndarray], n_layers: int, width: int) -> np.ndarray:
    out = np.zeros((n_layers, alignment.n_tokens, width), dtype=np.float32)
    for j, rows in enumerate(out if states else ()):  # one after another: all of a long text are a copy of it
        _fill(rows, np.concatenate([state[j] for state in states]), alignment, is_embedding=j == 0)
    return out


def _fill(rows: np.ndarray, joined: np.ndarray, alignment: Alignment, *, is_embedding: bool) -> None:
    """rows: (n_tokens, D) of one layer, zeros; joined: (n_units, D) of the same."""
    tokens, starts, units = alignment.token_ids, alignment.unit_starts, alignment.unit_ids
    ends = np.append(starts[1:], len(units))
    if is_embedding and len(units) > len(tokens):  # else each has one, which is its first and its last
        sums = np.zeros((len(tokens), joined.shape[1]), dtype=np.float32)
        np.add.at(sums, np.repeat(np.arange(len(tokens)), ends - starts), joined[units])  # one after another
        rows[tokens] = sums / (ends - starts)[:, None]
        return
    half = joined.shape[1] // 2
    rows[tokens, :half] = joined[units[ends - 1], :half]
    rows[tokens, half:] = joined[units[starts], half:]

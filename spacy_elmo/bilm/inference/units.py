"""Vectors of units, below the LSTMs: rows of the table, also with those of n-grams, or of a cache of what the
encoder makes of them.
"""

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..config import BiLMConfig
from ..embed import TokenEncoder, add_ngrams
from ..vocab import BOS, EOS, SPECIALS, UNK, Vocab, special_character_ids
from .spelling import Speller

UNIT_CACHE_BYTES = 64 * 2**20
FIRST_ROWS = 1024

Sentences = Sequence[Sequence[str]]
Ids = tuple[list[np.ndarray], list[np.ndarray]]


class Units(Protocol):
    """Where a route finds the vectors of units."""

    scale: float

    def look_up(self, sentences: Sentences) -> tuple[Tensor, Ids]:
        """Vectors (U, P) float32, to be multiplied by `scale`, and the rows of each sentence's units,
        with its boundaries, (n + 2,): of all sentences for the forward direction, and for the backward one.
        The same list twice where both read the same.
        """
        ...


class _Rows(dict[str, int]):
    """Rows of units, unknown ones too. Known ones are kept as they are written, full-width forms and all."""

    def __init__(self, vocab: Vocab):
        self.vocab = vocab

    def __missing__(self, unit: str) -> int:
        row = self.vocab.id(unit)
        if row != UNK:  # of which there is no end
            self[unit] = row
        return row


class TableUnits:
    """A table of width P is itself what is looked up. scale: see TokenEncoder."""

    def __init__(self, encoder: TokenEncoder, vocab: Vocab):
        assert encoder.table is not None
        self.vectors = encoder.table.weight.detach().float()
        self.scale = encoder.scale
        self._rows = _Rows(vocab)

    def look_up(self, sentences: Sentences) -> tuple[Tensor, Ids]:
        """See Units."""
        ids = self._ids(sentences)
        return self.vectors, (ids, ids)

    def _ids(self, sentences: Sentences) -> list[np.ndarray]:
        get = self._rows.__getitem__
        return [np.array([BOS, *map(get, sentence), EOS], dtype=np.int64) for sentence in sentences]


class NgramUnits(TableUnits):
    """The vectors of these very sentences: rows of the table and of the n-grams in each direction."""

    def __init__(self, encoder: TokenEncoder, vocab: Vocab):
        super().__init__(encoder, vocab)
        assert encoder.ngrams is not None
        self._vocab = vocab
        self._table, self._scale, self.scale = self.vectors, self.scale, 1.0
        self._ngrams = encoder.ngrams.weight.detach().float()

    def look_up(self, sentences: Sentences) -> tuple[Tensor, Ids]:
        """See Units."""
        ids = self._ids(sentences)
        # As one long sentence: no n-gram reaches over the boundaries within it.
        units = np.concatenate(ids)[None]
        x = self._table[torch.from_numpy(units)] * self._scale  # (1, N, P)
        sides = add_ngrams(x, self._ngrams, torch.from_numpy(self._vocab.ngram_rows(units)))
        ends = np.cumsum([len(sentence) for sentence in ids])
        ahead = np.split(np.arange(ends[-1]), ends[:-1])
        return torch.cat(sides, 1)[0], (ahead, [rows + ends[-1] for rows in ahead])


class EncodedUnits:
    """Each distinct unit is encoded once and kept, up to a budget of bytes; when it is spent, all start anew.

    Words follow Zipf's law: after some thousand sentences nine of ten tokens are there, and after a new start
    soon again. Safe for threads: a table that was handed out only grows in rows that nobody else has.

    budget: bytes of vectors; a call with more distinct units than that still gets all of them.
    dtype: of the encoder's products.
    """

    scale = 1.0

    def __init__(
        self,
        encoder: TokenEncoder,
        vocab: Vocab,
        config: BiLMConfig,
        *,
        dtype: torch.dtype,
        budget: int = UNIT_CACHE_BYTES,
    ):
        self.vocab = vocab
        self.config = config
        self.limit = max(1, budget // (4 * config.projection))
        self._speller = Speller(encoder, dtype)
        self._lock = threading.Lock()
        self._start_anew()

    def __len__(self) -> int:
        return len(self._rows)

    def look_up(self, sentences: Sentences) -> tuple[Tensor, Ids]:
        """See Units."""
        with self._lock:
            missing = {unit for sentence in sentences for unit in sentence}.difference(self._rows)
            if missing and len(self._rows) + len(missing) > self.limit:
                self._start_anew()
                missing = {unit for sentence in sentences for unit in sentence}
            if missing:
                self._add(sorted(missing))
            get = self._rows.__getitem__
            ids = [np.array([0, *map(get, sentence), 1], dtype=np.int64) for sentence in sentences]
            return self._vectors, (ids, ids)

    def forget(self) -> None:
        """Start anew at once."""
        with self._lock:
            self._start_anew()

    def _start_anew(self) -> None:
        """Nothing but the two boundaries, BOS in row 0 and EOS in row 1."""
        self._rows: dict[str, int] = {}
        special = torch.from_numpy(special_character_ids(self.config.max_characters))
        ids = torch.arange(len(SPECIALS))
        self._vectors = self._speller(ids, special)[[BOS, EOS]]

    def _add(self, units: list[str]) -> None:
        characters = self.vocab.character_ids(units, self.config.max_characters)
        ids = torch.from_numpy(self.vocab.ids(units)[1:-1])
        fresh = self._speller(ids, torch.from_numpy(characters))
        used = 2 + len(self._rows)
        if used + len(units) > len(self._vectors):
            grown = self._vectors.new_empty(max(FIRST_ROWS, 2 * (used + len(units))), fresh.shape[1])
            grown[:used] = self._vectors[:used]
            self._vectors = grown
        self._vectors[used : used + len(units)] = fresh
        self._rows.update(zip(units, range(used, used + len(units)), strict=True))


def units_of(encoder: TokenEncoder, vocab: Vocab, config: BiLMConfig, dtype: torch.dtype) -> Units:
    """What fits a biLM's encoder."""
    if config.encoder == "table" and config.table_dim == config.projection:
        return TableUnits(encoder, vocab) if encoder.ngrams is None else NgramUnits(encoder, vocab)
    return EncodedUnits(encoder, vocab, config, dtype=dtype)

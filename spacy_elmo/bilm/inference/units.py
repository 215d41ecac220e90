"""Vectors of units, below the LSTMs: rows of the table, also with those of n-grams, or of a cache of what the
encoder makes of them.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..config import BiLMConfig
from ..embed import TokenEncoder, add_ngrams
from ..row_cache import RowCache
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
        rows, ngrams = (
            torch.from_numpy(a).to(self._table.device) for a in (units, self._vocab.ngram_rows(units))
        )
        sides = add_ngrams(self._table[rows] * self._scale, self._ngrams, ngrams)  # (1, N, P) each
        ends = np.cumsum([len(sentence) for sentence in ids])
        ahead = np.split(np.arange(ends[-1]), ends[:-1])
        return torch.cat(sides, 1)[0], (ahead, [rows + ends[-1] for rows in ahead])


class EncodedUnits:
    """Each distinct unit is encoded once and kept (RowCache).

    budget: bytes of vectors. dtype: of the encoder's products.
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
        self._speller = Speller(encoder, dtype)
        self._device = next(encoder.parameters()).device
        special = special_character_ids(config.max_characters)
        boundaries = self._spell(np.arange(len(SPECIALS)), special)[[BOS, EOS]]  # rows 0 and 1
        self._kept = RowCache(boundaries, budget=budget, room=FIRST_ROWS)

    def __len__(self) -> int:
        return len(self._kept)

    def look_up(self, sentences: Sentences) -> tuple[Tensor, Ids]:
        """See Units."""
        table, rows = self._kept.look_up(chain.from_iterable(sentences), self._encode)
        get = rows.__getitem__
        ids = [np.array([0, *map(get, sentence), 1], dtype=np.int64) for sentence in sentences]
        return torch.from_numpy(table), (ids, ids)

    def forget(self) -> None:
        """Start anew at once."""
        self._kept.forget()

    def _encode(self, units: list[str]) -> np.ndarray:
        return self._spell(
            self.vocab.ids(units)[1:-1], self.vocab.character_ids(units, self.config.max_characters)
        )

    def _spell(self, ids: np.ndarray, characters: np.ndarray) -> np.ndarray:
        arrays = (torch.from_numpy(a).to(self._device) for a in (ids, characters))
        return self._speller(*arrays).detach().cpu().numpy()


def units_of(encoder: TokenEncoder, vocab: Vocab, config: BiLMConfig, dtype: torch.dtype) -> Units:
    """What fits a biLM's encoder."""
    if config.encoder == "table" and config.table_dim == config.projection:
        return TableUnits(encoder, vocab) if encoder.ngrams is None else NgramUnits(encoder, vocab)
    return EncodedUnits(encoder, vocab, config, dtype=dtype)

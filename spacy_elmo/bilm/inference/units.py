"""Vectors of units, below the LSTMs: rows of the table, and of those of n-grams, or of a cache of what the
encoder makes of units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Protocol

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


class NgramVectors(NamedTuple):
    """What is added to the vectors of units, see embed.add_ngrams."""

    vectors: Tensor
    """(_, W) float32, W <= P; row 0 is zero, and stands for none"""
    rows: np.ndarray
    """(N, longest_ngram - 1) int64: those that end at each unit, see Batch"""


@dataclass(frozen=True)
class Inputs:
    """What the LSTMs read of a batch: N units in all, boundaries included."""

    ids: list[np.ndarray]
    """(n + 2,) int64 for each sentence: the rows of its units"""
    vectors: Tensor
    """(U, P) float32"""
    scale: float = 1.0
    """of these vectors, see TokenEncoder"""
    ngrams: NgramVectors | None = None

    def sides(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(N, P) for the forward and the backward direction, sentence by sentence, each from the left."""
        rows = torch.from_numpy(np.concatenate(self.ids)).to(self.vectors.device)
        x = self.vectors[rows].to(device) * self.scale
        if self.ngrams is None:
            return x, x
        # As one long sentence: no n-gram reaches over the boundaries within it.
        ngrams = torch.from_numpy(self.ngrams.rows).to(device)
        ahead, back = add_ngrams(x[None], self.ngrams.vectors.to(device), ngrams[None])
        return ahead[0], back[0]


class Units(Protocol):
    """Where a route finds the vectors of units."""

    def look_up(self, sentences: Sentences) -> Inputs:
        """What a batch of sentences reads."""
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
    """A table of width P is itself what is looked up, and so are the vectors of n-grams, if there are any."""

    def __init__(self, encoder: TokenEncoder, vocab: Vocab):
        assert encoder.table is not None
        self._vectors, self._scale = encoder.table.weight.detach().float(), encoder.scale
        self._ngrams = None if encoder.ngrams is None else encoder.ngrams.weight.detach().float()
        self._vocab, self._rows = vocab, _Rows(vocab)

    def look_up(self, sentences: Sentences) -> Inputs:
        """See Units."""
        get = self._rows.__getitem__
        ids = [np.array([BOS, *map(get, sentence), EOS], dtype=np.int64) for sentence in sentences]
        if self._ngrams is None:
            return Inputs(ids, self._vectors, self._scale)
        ending = self._vocab.ngram_rows(np.concatenate(ids)[None])[0]
        return Inputs(ids, self._vectors, self._scale, NgramVectors(self._ngrams, ending))


class EncodedUnits:
    """Each distinct unit is encoded once and kept (RowCache).

    budget: bytes of vectors. dtype: of the encoder's products.
    """

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

    def look_up(self, sentences: Sentences) -> Inputs:
        """See Units."""
        table, rows = self._kept.look_up(chain.from_iterable(sentences), self._encode)
        get = rows.__getitem__
        ids = [np.array([0, *map(get, sentence), 1], dtype=np.int64) for sentence in sentences]
        return Inputs(ids, torch.from_numpy(table))

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
        return TableUnits(encoder, vocab)
    return EncodedUnits(encoder, vocab, config, dtype=dtype)

"""Provide the vectors of units below the LSTMs: rows of the tables, or a cache of encoded units."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ...modeling.config import BiLMConfig
from ...modeling.token_encoder import TokenEncoder, add_ngram_embeddings
from ...modeling.vector_cache import VectorCache
from ...modeling.vocab import BOS, EOS, SPECIALS, UNK, Vocab, special_character_ids
from .packed_token_encoder import PackedTokenEncoder

UNIT_CACHE_BYTES = 64 * 2**20
FIRST_ROWS = 1024

Sentences = Sequence[Sequence[str]]


class NgramVectors(NamedTuple):
    """Vectors that are added to those of the units, see token_encoder.add_ngram_embeddings."""

    vectors: Tensor
    """(rows, W) float32, W <= P; row 0 is zero and means "none"."""
    rows: np.ndarray
    """(N, max_ngram_length - 1) int64, n-grams that end at each unit, see TokenBatch."""


@dataclass(frozen=True)
class EncodedInputs:
    """Input of the LSTMs for a batch of N units in all, boundaries included."""

    ids: list[np.ndarray]
    """For each sentence (n + 2,) int64, the rows of its units."""
    vectors: Tensor
    """(U, P) float32."""
    scale: float = 1.0
    """Factor of these vectors, see TokenEncoder."""
    ngrams: NgramVectors | None = None

    def for_directions(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the input of the forward and the backward direction, (N, P), both in reading order."""
        rows = torch.from_numpy(np.concatenate(self.ids)).to(self.vectors.device)
        x = self.vectors[rows].to(device) * self.scale
        if self.ngrams is None:
            return x, x
        # Treated as one long sentence, because no n-gram crosses a boundary.
        ngrams = torch.from_numpy(self.ngrams.rows).to(device)
        ahead, back = add_ngram_embeddings(x[None], self.ngrams.vectors.to(device), ngrams[None])
        return ahead[0], back[0]


class InputEncoder(Protocol):
    """Provides the vectors of units for a backend."""

    def encode(self, sentences: Sentences) -> EncodedInputs:
        """Return the inputs of a batch of sentences."""
        ...


class _IdCache(dict[str, int]):
    """Rows of units, as written (also in full-width forms). Unknown units are not stored."""

    def __init__(self, vocab: Vocab):
        self.vocab = vocab

    def __missing__(self, unit: str) -> int:
        row = self.vocab.id(unit)
        if row != UNK:  # there is no limit to unknown units
            self[unit] = row
        return row


class UnknownUnits:
    """Counter of units outside the vocabulary; it warns once if they are a tenth of all or more."""

    SHARES, FEWEST = {"char": 0.1, "word": 0.5}, 10

    def __init__(self, units: str) -> None:
        self._share = self.SHARES[units]
        self._units = self._unknown = 0
        self._warned = False

    def count(self, ids: np.ndarray) -> None:
        """Count the units of `ids`, which include the boundaries of sentences."""
        if self._warned:
            return
        self._units += int((ids != BOS).sum() - (ids == EOS).sum())
        self._unknown += int((ids == UNK).sum())
        if self._unknown >= max(self.FEWEST, self._share * self._units):
            self._warned = True
            warnings.warn(
                f"{self._unknown:,} of the {self._units:,} units read are not in the vocabulary of the model "
                "and get the vectors of an unknown unit: if the text is in another language or script, use a "
                "model for it, or continue to train this one with [paths] init_from.",
                stacklevel=2,
            )


class TableInputs:
    """Inputs of a model whose only encoder is a table of width P: its rows, and those of n-grams."""

    def __init__(self, encoder: TokenEncoder, vocab: Vocab, units: str):
        assert encoder.embedding is not None
        self._vectors, self._scale = encoder.embedding.weight.detach().float(), encoder.scale
        self._ngrams = (
            None if encoder.ngram_embedding is None else encoder.ngram_embedding.weight.detach().float()
        )
        self._vocab, self._rows, self._unknown = vocab, _IdCache(vocab), UnknownUnits(units)

    def encode(self, sentences: Sentences) -> EncodedInputs:
        """Return the inputs of a batch, see InputEncoder."""
        get = self._rows.__getitem__
        ids = [np.array([BOS, *map(get, sentence), EOS], dtype=np.int64) for sentence in sentences]
        every = np.concatenate(ids)
        self._unknown.count(every)
        if self._ngrams is None:
            return EncodedInputs(ids, self._vectors, self._scale)
        ending = self._vocab.ngram_rows(every[None])[0]
        return EncodedInputs(ids, self._vectors, self._scale, NgramVectors(self._ngrams, ending))


class CachedInputs:
    """Inputs of other models: each distinct unit is encoded once and cached (VectorCache).

    budget: bytes of vectors. dtype: type of the encoder's products.
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
        self._encoder = PackedTokenEncoder(encoder, dtype)
        self._device = next(encoder.parameters()).device
        special = special_character_ids(config.max_characters_per_token)
        boundaries = self._run_encoder(np.arange(len(SPECIALS)), special)[[BOS, EOS]]  # rows 0 and 1
        self._cache = VectorCache(boundaries, budget=budget, initial_capacity=FIRST_ROWS)

    def __len__(self) -> int:
        return len(self._cache)

    def encode(self, sentences: Sentences) -> EncodedInputs:
        """Return the inputs of a batch, see InputEncoder."""
        table, rows = self._cache.table_and_index(chain.from_iterable(sentences), self._encode)
        get = rows.__getitem__
        ids = [np.array([0, *map(get, sentence), 1], dtype=np.int64) for sentence in sentences]
        return EncodedInputs(ids, torch.from_numpy(table))

    def clear(self) -> None:
        """Clear the cache."""
        self._cache.clear()

    def _encode(self, units: list[str]) -> np.ndarray:
        return self._run_encoder(
            self.vocab.ids(units)[1:-1], self.vocab.character_ids(units, self.config.max_characters_per_token)
        )

    def _run_encoder(self, ids: np.ndarray, characters: np.ndarray) -> np.ndarray:
        arrays = (torch.from_numpy(a).to(self._device) for a in (ids, characters))
        return self._encoder(*arrays).detach().cpu().numpy()


def make_input_encoder(
    encoder: TokenEncoder, vocab: Vocab, config: BiLMConfig, dtype: torch.dtype
) -> InputEncoder:
    """Return the inputs that fit the encoder of a biLM."""
    if config.token_encoder == "embedding" and config.effective_embedding_dim == config.projection_dim:
        return TableInputs(encoder, vocab, config.units)
    return CachedInputs(encoder, vocab, config, dtype=dtype)

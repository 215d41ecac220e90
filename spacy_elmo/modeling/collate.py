"""Convert sentences of units to padded batches of ids."""

from collections.abc import Sequence

import numpy as np
import torch

from .network import BiLMNetwork
from .token_encoder import TokenBatch
from .vocab import BOS, EOS, PAD, SPECIALS, Vocab, special_character_ids


def collate(bilm: BiLMNetwork, sentences: Sequence[Sequence[str]]) -> TokenBatch:
    """Convert sentences of units to a padded TokenBatch with boundaries."""
    vocab = bilm.vocab
    lengths = [len(sentence) + 2 for sentence in sentences]
    units = np.full((len(sentences), max(lengths)), PAD, dtype=np.int64)
    for row, sentence, n in zip(units, sentences, lengths, strict=True):
        row[:n] = vocab.ids(sentence)
    batch = TokenBatch(torch.from_numpy(units), torch.tensor(lengths))
    if bilm.config.token_encoder != "embedding":
        batch.type_ids, batch.type_char_ids = _type_char_ids(
            vocab, sentences, max(lengths), bilm.config.max_characters_per_token
        )
    if bilm.config.n_ngrams:
        batch.ngram_ids = torch.from_numpy(vocab.ngram_rows(units))
    return batch


def _type_char_ids(
    vocab: Vocab, sentences: Sequence[Sequence[str]], longest: int, max_characters_per_token: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return type_ids (B, T) and type_char_ids (U, C) of a TokenBatch: each distinct unit is spelled once."""
    index: dict[str, int] = {}
    forms = np.full((len(sentences), longest), PAD, dtype=np.int64)
    for row, sentence in zip(forms, sentences, strict=True):
        ids = [index.setdefault(unit, len(SPECIALS) + len(index)) for unit in sentence]
        row[: len(ids) + 2] = [BOS, *ids, EOS]
    spelled = vocab.character_ids(list(index), max_characters_per_token)
    characters = np.concatenate([special_character_ids(max_characters_per_token), spelled])
    return torch.from_numpy(forms), torch.from_numpy(characters)

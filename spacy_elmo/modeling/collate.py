"""Convert sentences to padded batches of ids."""

from collections.abc import Sequence

import numpy as np
import torch

from .network import BiLMNetwork
from .token_encoder import TokenBatch
from .vocab import BOS, EOS, PAD, SPECIALS, Vocab, special_character_ids


def collate(bilm: BiLMNetwork, sentences: Sequence[Sequence[str]]) -> TokenBatch:
    """Convert sentences of units to a padded TokenBatch with boundaries."""
    vocab = bilm.vocab
    input_ids, lengths = pad_sentences([vocab.ids(sentence)[1:-1] for sentence in sentences])
    types = None
    if bilm.config.token_encoder != "embedding":
        types = _types(vocab, sentences, bilm.config.max_characters_per_token)
    return make_batch(vocab, input_ids, lengths, types)


def pad_sentences(sentences: Sequence[Sequence[int] | np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Put boundaries around sentences of ids, and padding after them: (B, T) and lengths (B,), int64."""
    lengths = np.array([len(sentence) + 2 for sentence in sentences], dtype=np.int64)
    ids = np.full((len(sentences), int(lengths.max(initial=2))), PAD, dtype=np.int64)
    ids[:, 0] = BOS
    for row, sentence, n in zip(ids, sentences, lengths, strict=True):
        row[1 : n - 1] = sentence
        row[n - 1] = EOS
    return ids, lengths


def make_batch(
    vocab: Vocab, input_ids: np.ndarray, lengths: np.ndarray, types: tuple[np.ndarray, np.ndarray] | None
) -> TokenBatch:
    """Make a TokenBatch of padded ids, with the rows of n-grams where the vocabulary has any.

    types: type_ids (B, T) and type_char_ids (U, C) of the batch, for models with a char-CNN.
    """
    batch = TokenBatch(torch.from_numpy(input_ids), torch.from_numpy(lengths))
    if types is not None:
        batch.type_ids, batch.type_char_ids = map(torch.from_numpy, types)
    if vocab.ngrams:
        batch.ngram_ids = torch.from_numpy(vocab.ngram_rows(input_ids))
    return batch


def _types(
    vocab: Vocab, sentences: Sequence[Sequence[str]], max_characters_per_token: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return type_ids (B, T) and type_char_ids (U, C) of a TokenBatch: each distinct unit is spelled once."""
    index: dict[str, int] = {}
    type_ids, _ = pad_sentences(
        [[index.setdefault(unit, len(SPECIALS) + len(index)) for unit in sentence] for sentence in sentences]
    )
    spelled = vocab.character_ids(list(index), max_characters_per_token)
    return type_ids, np.concatenate([special_character_ids(max_characters_per_token), spelled])

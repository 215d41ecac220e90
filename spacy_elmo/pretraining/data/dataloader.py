"""Load batches by length with a token budget, in an order that a seed fixes and a state resumes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...modeling.collate import make_batch, pad_sentences
from ...modeling.cross_entropy import IGNORE_INDEX
from ...modeling.token_encoder import LabelledBatch, TokenBatch
from ...modeling.vocab import SPECIALS, UNK, Vocab, special_character_ids
from ...seeds import derive_seed
from .corpus import Corpus
from .unit_labels import UnitLabels


@dataclass
class LoaderState:
    """Position of a run in its data: the epoch, and the number of its finished batches."""

    epoch: int = 0
    done: int = 0


class BatchLoader:
    """Endless stream of batches of a corpus, epoch after epoch.

    A batch holds sentences of about equal length (little padding, plain tensors) and at most `batch_tokens`
    ids, boundaries and padding included. The batches and their order depend only on `seed` and the epoch, so
    a run that continues at a LoaderState reads what it would have read.

    Args:
        corpus: The corpus.
        vocab: Vocabulary of the model.
        batch_tokens: Units of a batch over all processes.
        seed: Seed of the run.
        max_characters_per_token: Characters of a word for a char-CNN; None: no char-CNN.
        shard: (rank, size): this process reads each size-th sentence of a batch, from rank on. A shard may be
            empty if there are fewer sentences than processes.
        labels: Labels of the corpus; None: batches without labels.
    """

    def __init__(
        self,
        corpus: Corpus,
        vocab: Vocab,
        *,
        batch_tokens: int,
        seed: int = 0,
        max_characters_per_token: int | None = None,
        shard: tuple[int, int] = (0, 1),
        labels: UnitLabels | None = None,
    ):
        self.shard, self.labels = shard, labels
        self.corpus, self.vocab = corpus, vocab
        self.batch_tokens, self.seed = batch_tokens, seed
        units = [unit for unit, _ in corpus.counts()]
        self._rows = _rows_of(units, vocab)
        self._spelled: np.ndarray | None = None
        if max_characters_per_token is not None:
            self._spelled = char_ids_of_vocab(units, vocab, max_characters_per_token)

    def epoch(self, number: int) -> list[np.ndarray]:
        """Return the batches of an epoch as arrays of sentence numbers."""
        rng = np.random.default_rng(derive_seed(self.seed, "order", step=number))
        lengths = self.corpus.lengths + 2
        # Sorted by length, ties and near-ties in a new order each epoch.
        order = np.argsort(lengths * (1 + 0.1 * rng.random(len(lengths), dtype=np.float32)), kind="stable")
        batches, first = [], 0
        longest = np.maximum.accumulate(lengths[order])
        while first < len(order):
            # The largest n with n * longest(first + n - 1) <= batch_tokens; at least one sentence.
            window = longest[first : first + max(1, self.batch_tokens // int(longest[first]))]
            fits = np.arange(1, len(window) + 1) * window <= self.batch_tokens
            n = max(1, int(fits.sum()))
            batches.append(order[first : first + n])
            first += n
        rng.shuffle(batches)
        return batches

    def iter_from(self, state: LoaderState) -> Iterator[tuple[TokenBatch, LoaderState]]:
        """Yield the batches from `state` on, each with the state after it."""
        while True:
            batches = self.epoch(state.epoch)
            while state.done < len(batches):
                rows = batches[state.done]
                state = LoaderState(state.epoch, state.done + 1)
                shard_rows = rows[self.shard[0] :: self.shard[1]]
                # Longest first, see rows_by_step.
                longest_first = np.argsort(-self.corpus.lengths[shard_rows], kind="stable")
                yield self.collate(shard_rows[longest_first]), state
            state = LoaderState(state.epoch + 1, 0)

    def collate(self, rows: np.ndarray) -> TokenBatch:
        """Convert sentences, given by number, to a padded TokenBatch."""
        units, lengths = pad_sentences([self.corpus[i] + len(SPECIALS) for i in rows])
        types = None
        if self._spelled is not None:
            distinct, type_ids = np.unique(units, return_inverse=True)
            types = type_ids.reshape(units.shape), self._spelled[distinct].astype(np.int64)
        batch = make_batch(self.vocab, self._rows[np.minimum(units, len(self._rows) - 1)], lengths, types)
        if self.labels is None:
            return batch
        labels = np.full(units.shape, IGNORE_INDEX, dtype=np.int64)
        for row, i, n in zip(labels, rows, lengths, strict=True):
            row[1 : n - 1] = self.labels[i]
        return LabelledBatch(**vars(batch), labels=torch.from_numpy(labels))


def _rows_of(units: Sequence[str], vocab: Vocab) -> np.ndarray:
    """Return the rows of special tokens and listed units in the vocabulary, then that of unlisted ones."""
    row_of = {unit: row for row, unit in enumerate(vocab.units, len(SPECIALS))}
    listed = (row_of.get(unit, UNK) for unit in units)
    return np.array([*range(len(SPECIALS)), *listed, UNK], dtype=np.int64)


def char_ids_of_vocab(units: Sequence[str], vocab: Vocab, max_characters_per_token: int) -> np.ndarray:
    """Return the characters of the listed units of a corpus: (units + 5, max_characters_per_token + 2).

    Units too rare for the embedding table are included, because a char-CNN reads them too. Special tokens
    come first, and the entry for unlisted units last.
    """
    small = np.min_scalar_type(vocab.n_characters)
    special = special_character_ids(max_characters_per_token).astype(small)
    # In chunks: Vocab uses eight bytes per character, and there may be a million units.
    pieces = (units[i : i + 10_000] for i in range(0, len(units), 10_000))
    rows = [vocab.character_ids(piece, max_characters_per_token).astype(small) for piece in pieces]
    return np.concatenate([special, *rows, special[UNK : UNK + 1]])

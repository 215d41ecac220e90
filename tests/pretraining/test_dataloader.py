"""Batches: every sentence once an epoch, within the budget, in an order that can be taken up again."""

import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.collate import collate
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import BOS, EOS, PAD
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.corpus_builder import write_corpus
from spacy_elmo.pretraining.data.dataloader import BatchLoader, LoaderState

from .helpers import CORPUS_SETTINGS, WORD_CORPUS_SETTINGS


def stream(folder, lengths, batch_tokens, **options) -> BatchLoader:
    """Sentence i consists of the unit i alone, so that it is known again."""
    sentences = [[f"u{i}"] * n for i, n in enumerate(lengths)]
    write_corpus(Path(folder) / "corpus", sentences, settings=CORPUS_SETTINGS, shard_units=50)
    corpus = Corpus(Path(folder) / "corpus")
    return BatchLoader(corpus, corpus.vocab(), batch_tokens=batch_tokens, **options)


def ids(batch) -> list[list[int]]:
    return batch.input_ids.tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), st.integers(1, 200), st.integers(0, 3))
def test_an_epoch_has_every_sentence_once_and_keeps_the_budget(lengths, batch_tokens, epoch):
    with tempfile.TemporaryDirectory() as folder:
        batches = stream(folder, lengths, batch_tokens).epoch(epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for rows in batches:
        size = len(rows) * (max(lengths[i] for i in rows) + 2)
        assert size <= batch_tokens or len(rows) == 1


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=20), st.integers(1, 60), st.integers(0, 40))
def test_a_stream_goes_on_at_any_position(lengths, batch_tokens, n):
    with tempfile.TemporaryDirectory() as folder:
        data = stream(folder, lengths, batch_tokens)
        whole = list(islice(data.iter_from(LoaderState()), n + 5))
        position = whole[n - 1][1] if n else LoaderState()
        rest = list(islice(data.iter_from(position), 5))
    assert [(ids(b), p) for b, p in rest] == [(ids(b), p) for b, p in whole[n:]]


def test_a_position_is_not_changed_by_the_stream(tmp_path):
    data = stream(tmp_path, [3] * 20, 20)
    position = LoaderState()
    list(islice(data.iter_from(position), 10))
    assert position == LoaderState(0, 0)


def test_the_seed_and_the_epoch_decide_the_order(tmp_path):
    lengths = [i % 7 + 1 for i in range(60)]
    one, same, other = (stream(tmp_path, lengths, 40, seed=seed) for seed in (1, 1, 2))

    def order(data, epoch):
        return [rows.tolist() for rows in data.epoch(epoch)]

    assert order(one, 0) == order(same, 0)
    assert order(one, 0) != order(other, 0)
    assert order(one, 0) != order(one, 1)
    groups = [{frozenset(rows) for rows in order(one, epoch)} for epoch in (0, 1)]
    assert groups[0] != groups[1]  # not the same sentences together each time


def test_an_epoch_follows_the_other(tmp_path):
    data = stream(tmp_path, [2] * 10, 12)  # 3 sentences per batch
    positions = [position for _, position in islice(data.iter_from(LoaderState()), 9)]
    assert [(p.epoch, p.done) for p in positions] == [(e, d) for e in (0, 1, 2) for d in (1, 2, 3, 4)][:9]


def test_little_is_padded(tmp_path):
    lengths = np.random.default_rng(0).gamma(2, 12, 3000).astype(int).clip(1, 128)
    data = stream(tmp_path, lengths.tolist(), 2048)
    batches = data.epoch(0)
    padded = sum(len(rows) * (lengths[rows].max() + 2) for rows in batches)
    assert (lengths + 2).sum() / padded > 0.9
    assert len(batches) < 1.15 * (lengths + 2).sum() / 2048


def test_a_batch_holds_the_sentences_with_their_boundaries(tmp_path):
    write_corpus(tmp_path / "corpus", [list("我爱我"), list("狗"), list("我们")], settings=CORPUS_SETTINGS)
    corpus = Corpus(tmp_path / "corpus")
    vocab = corpus.vocab(max_size=2)  # 我 and 爱; 狗 and 们 are unknown
    batch = BatchLoader(corpus, vocab, batch_tokens=99).collate(np.array([2, 0, 1]))
    assert batch.input_ids.tolist() == [
        [BOS, 4, 1, EOS, PAD],
        [BOS, 4, 5, 4, EOS],
        [BOS, 1, EOS, PAD, PAD],
    ]
    assert batch.lengths.tolist() == [4, 5, 3]
    assert batch.input_ids.dtype == batch.lengths.dtype == torch.int64
    assert batch.type_ids is None
    assert batch.type_char_ids is None


@pytest.mark.parametrize("encoder", ["embedding", "char_cnn", "both"])
@pytest.mark.parametrize("max_size", [None, 3], ids=["all known", "some unknown"])
def test_training_reads_what_inference_reads(tmp_path, encoder, max_size):
    sentences = [["我", "爱", "北京"], ["天安门", "，", "我", "爱", "长城"], ["狗"]]
    write_corpus(tmp_path / "corpus", sentences, settings=WORD_CORPUS_SETTINGS)
    corpus = Corpus(tmp_path / "corpus")
    spelled = encoder != "embedding"
    vocab = corpus.vocab(max_size=max_size, spelled=spelled)
    config = BiLMConfig(
        units="word",
        token_encoder=encoder,
        tie_softmax=not spelled,
        projection_dim=4,
        hidden_size=4,
        max_characters_per_token=4,
    )
    bilm = BiLM(config, vocab)
    data = BatchLoader(corpus, vocab, batch_tokens=99, max_characters_per_token=4 if spelled else None)
    with torch.no_grad():
        trained = bilm(data.collate(np.arange(3)))
        used = bilm(collate(bilm, sentences))
    torch.testing.assert_close(trained, used)

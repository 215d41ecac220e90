"""The n-grams of a corpus, counted, and a model that is trained with them."""

import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.errors import ConfigError, ElmoError
from spacy_elmo.inference import loading
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.collate import collate
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.pretraining import trainer
from spacy_elmo.pretraining.auto_batch_size import random_batch
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.corpus_builder import write_corpus
from spacy_elmo.pretraining.data.dataloader import BatchLoader
from spacy_elmo.pretraining.estimate import estimate_run
from spacy_elmo.pretraining.init import ngram_selection
from spacy_elmo.pretraining.init.ngram_selection import select_ngrams, with_ngrams
from spacy_elmo.pretraining.initialization import init_from_parent
from spacy_elmo.pretraining.step.train_step import TrainStep
from spacy_elmo.pretraining.trainer import lr_at, pretrain

from .helpers import CORPUS_SETTINGS, CYCLE, MODEL, make_corpus, make_settings, same_weights


def corpus_of(folder, sentences, **options) -> Corpus:
    write_corpus(Path(folder) / "corpus", sentences, settings=CORPUS_SETTINGS, **options)
    return Corpus(Path(folder) / "corpus")


def naive(sentences, units, number, longest, min_count) -> list[str]:
    """The same counts with a Counter and tuples of ranks."""
    rank = {unit: i for i, unit in enumerate(units) if unit.isalpha()}
    counts = Counter(
        tuple(rank.get(unit, -1) for unit in sentence[i : i + n])
        for sentence in sentences
        for n in range(1, longest + 1)
        for i in range(len(sentence) - n + 1)
    )
    counts = {ids: c for ids, c in counts.items() if -1 not in ids}
    total = sum(c for ids, c in counts.items() if len(ids) == 1)

    def cohesion(ids):
        parts = ((counts[ids[:k]], counts[ids[k:]]) for k in range(1, len(ids)))
        return min(np.log(counts[ids] * (total / a) / b) for a, b in parts)

    kept = [
        (-(np.log(c) + 0.3 * min(6.0, cohesion(ids))), len(ids), ids)
        for ids, c in counts.items()
        if c >= min_count and len(ids) > 1
    ]
    return ["".join(units[i] for i in ids) for _, _, ids in sorted(kept)[:number]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("甲乙丙，1", min_size=1, max_size=12), min_size=1, max_size=12),
    st.integers(1, 40),
    st.sampled_from([2, 3, 4]),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([None, 1, 3]),
)
def test_the_ngrams_most_like_words(sentences, number, longest, min_count, max_size):
    with tempfile.TemporaryDirectory() as folder:
        corpus = corpus_of(folder, [list(s) for s in sentences], shard_units=10)
        vocab = corpus.vocab(max_size=max_size)
        found = select_ngrams(corpus, vocab, number, longest, min_count=min_count)
    assert found == naive(sentences, vocab.units, number, longest, min_count)


def test_a_large_corpus_is_counted_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr(ngram_selection, "BLOCK", 5)
    sentences = [list("甲乙" if i // 5 % 3 == 0 else "丙丁") for i in range(30)]
    corpus = corpus_of(tmp_path, sentences)
    vocab = corpus.vocab()
    whole = select_ngrams(corpus, vocab, 9, 3)
    assert set(whole) == {"丙丁", "甲乙"}
    assert select_ngrams(corpus, vocab, 9, 3, units=20) == ["甲乙"]  # every third block
    assert select_ngrams(corpus, vocab, 9, 3, units=60) == whole


def test_more_units_than_keys_of_ngrams_can_hold(tmp_path):
    """A key is a number to the base of the number of units: four digits above 55,108 overflow int64."""
    letters = [chr(0x20000 + i) for i in range(42_000)] + [chr(0x4E00 + i) for i in range(20_000)]
    corpus = corpus_of(tmp_path, [letters])
    with pytest.raises(ElmoError, match="62,000 units are too many for n-grams of 4: use fewer units"):
        select_ngrams(corpus, corpus.vocab(), 9, 4)
    assert len(select_ngrams(corpus, corpus.vocab(), 9, 3)) == 9


@pytest.mark.parametrize("max_size", [None, 3], ids=["all known", "some unknown"])
def test_training_reads_what_inference_reads(tmp_path, max_size):
    sentences = [list("我爱我爱北京"), list("北京爱我"), list("狗")]
    corpus = corpus_of(tmp_path, sentences)
    plain = corpus.vocab(max_size=max_size)
    config = BiLMConfig(projection_dim=4, hidden_size=4, n_ngrams=50)
    config, vocab = with_ngrams(corpus, config, plain, min_count=1)
    assert 0 < config.n_ngrams == len(vocab.ngrams) < 50
    assert vocab.units == plain.units
    bilm = BiLM(config, vocab)
    batch = BatchLoader(corpus, vocab, batch_tokens=99).collate(np.arange(3))
    with torch.no_grad():
        torch.testing.assert_close(bilm(batch), bilm(collate(bilm, sentences)))
    assert BatchLoader(corpus, plain, batch_tokens=99).collate(np.arange(3)).ngram_ids is None


def test_a_run_with_ngrams(tmp_path, monkeypatch):
    """It learns their vectors, writes a model folder, and continues with the same bits."""
    made = make_settings(tmp_path)
    settings = replace(made, model={**MODEL, "n_ngrams": 8, "max_ngram_length": 2, "ngram_dim": 5})
    pretrain(settings, tmp_path / "whole")
    bilm = loading.load(tmp_path / "whole" / "model")
    assert set(bilm.vocab.ngrams) <= {a + b for a in CYCLE for b in CYCLE}
    assert bilm.token_encoder.ngram_embedding.weight.shape == (1 + 8, 5)
    assert not bilm.token_encoder.ngram_embedding.weight[0].any()
    assert json.loads((tmp_path / "whole" / "run.json").read_bytes())["log"][-1]["step"] == 6

    def failing(step, training):
        if step == 3:
            raise KeyboardInterrupt
        return lr_at(step, training)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "lr_at", failing)
        with pytest.raises(KeyboardInterrupt):
            pretrain(settings, tmp_path / "stopped")
    pretrain(settings, tmp_path / "stopped")
    assert same_weights(tmp_path / "stopped", tmp_path / "whole")
    assert loading.load(tmp_path / "stopped" / "model").vocab.ngrams == bilm.vocab.ngrams


def test_a_corpus_without_an_ngram_that_is_frequent_enough(tmp_path):
    made = make_settings(tmp_path, max_steps=1)
    make_corpus(tmp_path / "corpus", "甲\n甲\n甲\n")
    pretrain(replace(made, model={**MODEL, "n_ngrams": 12}), tmp_path / "run")
    assert loading.read_config(tmp_path / "run" / "model").n_ngrams == 0


def test_ngrams_of_words_are_refused(tmp_path):
    settings = make_settings(tmp_path)
    make_corpus(tmp_path / "corpus", "甲 乙\n", units="word")
    with pytest.raises(ConfigError, match='ngrams needs units = "char"'):
        pretrain(replace(settings, model={**MODEL, "n_ngrams": 12}), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_rows_of_ngrams_are_found_by_name():
    parent, bilm = (
        BiLM(BiLMConfig(**MODEL, n_ngrams=len(names)), Vocab("甲乙丙", ngrams=names))
        for names in (["甲乙", "乙丙", "甲乙丙"], ["丙甲", "甲乙丙", "甲乙"])
    )
    init_from_parent(bilm, parent)
    ours, theirs = bilm.token_encoder.ngram_embedding.weight, parent.token_encoder.ngram_embedding.weight
    assert torch.equal(ours[[0, 2, 3]], theirs[[0, 3, 1]])
    assert not ours[1].any()


def test_training_goes_on_from_a_model_with_ngrams(tmp_path):
    made = make_settings(tmp_path)
    pretrain(replace(made, model={**MODEL, "n_ngrams": 12}), tmp_path / "parent")
    paths = replace(made.paths, init_from=str(tmp_path / "parent" / "model"))
    pretrain(replace(made, paths=paths, model={}), tmp_path / "run")
    assert loading.read_config(tmp_path / "run" / "model").n_ngrams == 12


@pytest.mark.parametrize("ngrams", [0, 5], ids=["to a parent without", "to a parent with fewer"])
def test_ngrams_are_added(tmp_path, ngrams):
    """N-grams that the parent has keep their vectors; others begin at zero, or all with their neighbours'."""
    made = make_settings(tmp_path)
    pretrain(replace(made, model={**MODEL, "n_ngrams": ngrams}), tmp_path / "parent")
    paths = replace(made.paths, init_from=str(tmp_path / "parent" / "model"))
    pretrain(replace(made, paths=paths, model={"n_ngrams": 12}), tmp_path / "run")
    bilm = loading.load(tmp_path / "run" / "model")
    assert bilm.token_encoder.ngram_embedding.weight[1:].any(dim=1).all()


def test_ngrams_are_not_lost(tmp_path):
    made = make_settings(tmp_path)
    pretrain(replace(made, model={**MODEL, "n_ngrams": 12}), tmp_path / "parent")
    paths = replace(made.paths, init_from=str(tmp_path / "parent" / "model"))
    with pytest.raises(ConfigError, match="init_from has n_ngrams = 12, but this run has 0"):
        pretrain(replace(made, paths=paths, model={"n_ngrams": 0}), tmp_path / "run")


def test_batches_and_plans_without_meaning_have_ngrams(tmp_path):
    bilm = BiLM(BiLMConfig(**MODEL, n_ngrams=1), Vocab("甲", ngrams=["甲甲"]))
    batch = random_batch(TrainStep(bilm), 300)
    assert (batch.ngram_ids[:, 2:-1, 0] == 1).all()
    settings = make_settings(tmp_path)
    plain = estimate_run(settings, tokens_per_second=1)
    plan = estimate_run(replace(settings, model={**MODEL, "n_ngrams": 30}))
    assert plan.parameters["embedding"] == plain.parameters["embedding"] + 31 * MODEL["projection_dim"]
    assert plan.tokens_per_second > 0

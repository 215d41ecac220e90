"""Pretraining: a tiny model learns, and a run that was interrupted continues as if it had not been."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch

from spacy_elmo.inference import loading
from spacy_elmo.pretraining.checkpoint import find_checkpoints
from spacy_elmo.pretraining.config import TrainingConfig, VocabConfig
from spacy_elmo.pretraining.evaluation import evaluate_perplexity, subsample
from spacy_elmo.pretraining.optim import lr_at
from spacy_elmo.pretraining.trainer import pretrain

from .helpers import (
    MODEL,
    WORD_CORPUS_SETTINGS,
    cyclic_text,
    figures,
    make_corpus,
    make_settings,
    read_units,
    same_weights,
    weights,
)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_tiny_model_learns(tmp_path, precision, dropout):
    settings = make_settings(
        tmp_path, max_steps=60, eval_every=30, checkpoint_every=60, precision=precision, dropout=dropout
    )
    record = pretrain(settings, tmp_path / "run")
    first, last = record["log"][0]["dev"], record["log"][-1]["dev"]
    for side in ("forward", "backward"):
        assert first[side] > 10
        assert last[side] < 5
        assert last[side] < record["log"][1]["dev"][side] < first[side]
    bilm = loading.load(tmp_path / "run" / "model")
    again = evaluate_perplexity(bilm, read_units(tmp_path / "heldout.txt"))
    assert again.forward == pytest.approx(last["forward"], rel=1e-4)
    assert again.backward == pytest.approx(last["backward"], rel=1e-4)


def test_what_a_run_leaves(whole):
    settings, run = whole
    extras = {"curve.png", "events"}  # where matplotlib and TensorBoard are installed
    assert sorted(set(os.listdir(run)) - extras) == ["checkpoints", "model", "run.json"]
    assert [p.name for p in find_checkpoints(run / "checkpoints")] == ["step-000000004", "step-000000006"]
    assert len(os.listdir(run / "checkpoints")) == 2
    record = json.loads((run / "run.json").read_bytes())
    assert record["settings"] == json.loads(json.dumps(settings.to_dict()))
    assert [row["step"] for row in record["log"]] == [0, 4, 6]
    assert record["dev"] == record["log"][-1]["dev"]
    assert record["tokens_seen"] > 6 * 100
    assert record["seconds"] > 0
    bilm = loading.load(run / "model")
    assert record["vocab"] == len(bilm.vocab) == 15
    assert record["parameters"] == sum(p.numel() for p in bilm.parameters())
    assert (bilm.config.projection_dim, bilm.config.hidden_size) == (8, 16)
    assert (bilm.config.max_sentence_length, bilm.config.segmenter) == (20, "char")
    assert bilm.encode([list("甲乙丙")])[0].shape == (3, 3, 16)
    assert not list(run.rglob("*.pt")) + list(run.rglob("*.pkl"))


def test_the_model_is_saved_in_half_precision_by_default(tmp_path):
    pretrain(make_settings(tmp_path, max_steps=1, save_dtype="float16"), tmp_path / "run")
    assert {t.dtype for t in weights(tmp_path / "run").values()} == {torch.float16}
    assert TrainingConfig().save_dtype == "float16"


def test_the_same_run_gives_the_same_bits_and_another_seed_others(whole, tmp_path):
    settings, run = whole
    pretrain(settings, tmp_path / "same")
    assert same_weights(tmp_path / "same", run)
    assert figures(tmp_path / "same") == figures(run)
    pretrain(replace(settings, training=replace(settings.training, seed=1)), tmp_path / "other")
    assert not same_weights(tmp_path / "other", run)


def test_a_finished_run_is_not_repeated(whole, tmp_path):
    settings, run = whole
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    pretrain(settings, tmp_path / "run")
    assert same_weights(tmp_path / "run", run)
    assert figures(tmp_path / "run") == figures(run)


@pytest.mark.parametrize("encoder", ["char_cnn", "both"])
def test_words_with_characters(tmp_path, encoder):
    text = cyclic_text(60).replace("丙", "丙 ").replace("己", "己 ")
    make_corpus(tmp_path / "corpus", text, **WORD_CORPUS_SETTINGS)
    (tmp_path / "heldout.txt").write_text(text, encoding="utf8")
    settings = replace(
        make_settings(tmp_path),
        vocab=VocabConfig(min_count=3),
        model={
            **MODEL,
            "token_encoder": encoder,
            "tie_softmax": False,
            "char_embedding_dim": 4,
            "char_filters": [[1, 4], [2, 8]],
        },
    )
    record = pretrain(settings, tmp_path / "run")
    assert record["log"][-1]["dev"]["forward"] < record["log"][0]["dev"]["forward"]
    bilm = loading.load(tmp_path / "run" / "model")
    assert bilm.config.token_encoder == encoder
    assert bilm.config.char_filters == ((1, 4), (2, 8))
    assert bilm.encode([["丁戊己", "新词"]])[0].shape == (3, 2, 16)


# the schedule


def test_the_learning_rate_rises_and_falls():
    training = TrainingConfig(max_steps=20, warmup_steps=5, learning_rate=0.1)
    rates = [lr_at(step, training) for step in range(20)]
    assert rates[:6] == sorted(rates[:6])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert max(rates) == pytest.approx(0.1)
    assert 0 < rates[0] < 0.02
    assert 0 < rates[-1] < 0.01
    flat = TrainingConfig(max_steps=3, warmup_steps=0)
    assert lr_at(0, flat) == flat.learning_rate
    assert lr_at(2, TrainingConfig(max_steps=3, warmup_steps=100)) > 0


def test_the_learning_rate_stays_until_the_decay():
    training = TrainingConfig(max_steps=100, warmup_steps=5, decay_steps=20, learning_rate=0.1)
    rates = [lr_at(step, training) for step in range(100)]
    assert set(rates[5:81]) == {0.1}
    assert rates[90] == pytest.approx(0.05)
    longer = TrainingConfig(max_steps=200, warmup_steps=5, decay_steps=20, learning_rate=0.1)
    assert [lr_at(step, longer) for step in range(80)] == rates[:80]


def test_a_sample_is_spread_evenly():
    text = [[str(i)] * 10 for i in range(100)]
    found = subsample(text, 100)
    assert found == text[::10]
    assert subsample(text, 10**6) == text
    assert subsample(text, 1) == text[:1]

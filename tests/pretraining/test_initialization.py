"""Training on from a model or a checkpoint; stopping early; the batch that fits the memory."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from spacy_elmo.errors import ConfigError
from spacy_elmo.inference import loading
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import BOS, EOS, UNK, Vocab
from spacy_elmo.pretraining import auto_batch_size, initialization, memory, memory_model, trainer
from spacy_elmo.pretraining.checkpoint import find_checkpoints
from spacy_elmo.pretraining.config import TrainingConfig
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.dataloader import BatchLoader
from spacy_elmo.pretraining.distributed import DistributedContext
from spacy_elmo.pretraining.evaluation import evaluate_perplexity
from spacy_elmo.pretraining.initialization import build_model, init_from_parent
from spacy_elmo.pretraining.step.train_step import TrainStep
from spacy_elmo.pretraining.trainer import pretrain

from .helpers import MODEL, cyclic_text, make_corpus, make_settings, same_weights

SPELLED = {"units": "word", "token_encoder": "both", "tie_softmax": False, "char_filters": ((1, 3),), **MODEL}


def make(names, characters=(), **settings) -> BiLM:
    torch.manual_seed(len(names))
    return BiLM(BiLMConfig(**{**MODEL, **settings}), Vocab(names, characters))


@pytest.mark.parametrize("settings", [{}, SPELLED], ids=["characters", "words"])
def test_rows_are_found_by_name(settings):
    spelled = bool(settings)
    parent = make(list("甲乙丙丁"), list("甲乙丙丁") if spelled else (), **settings)
    bilm = make(list("丁戊甲"), list("丁戊甲") if spelled else (), **settings)
    fresh = bilm.token_encoder.embedding.weight[5].clone()
    with torch.no_grad():
        parent.softmax_bias.normal_()
    assert init_from_parent(bilm, parent) == 2
    for ours, theirs in ((4, 7), (6, 4), *((i, i) for i in range(4))):  # 丁, 甲 and the specials
        assert torch.equal(
            bilm.token_encoder.embedding.weight[ours], parent.token_encoder.embedding.weight[theirs]
        )
        assert torch.equal(bilm.softmax_weight[ours], parent.softmax_weight[theirs])
        assert bilm.softmax_bias[ours] == parent.softmax_bias[theirs]
    assert torch.equal(bilm.token_encoder.embedding.weight[5], fresh)
    assert bilm.softmax_bias[5].item() == pytest.approx(parent.softmax_bias.mean().item())
    by_row = ("embedding.weight", "softmax_")
    for name, tensor in bilm.state_dict().items():
        if not any(part in name for part in by_row):
            assert torch.equal(tensor, parent.state_dict()[name]), name
    if spelled:
        a, b = (m.token_encoder.char_cnn.embedding.weight for m in (bilm, parent))
        assert torch.equal(a[6], b[9])  # 丁


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_training_goes_on_from_a_model_or_a_checkpoint(whole, tmp_path, kind):
    settings, run = whole
    parent = run / "model" if kind == "model" else find_checkpoints(run / "checkpoints")[-1]
    make_corpus(tmp_path / "corpus", cyclic_text(200, seed=3) + "新狗。\n")
    own = replace(settings.paths, train=str(tmp_path / "corpus"), init_from=str(parent))
    record = pretrain(replace(settings, paths=own, model={}), tmp_path / "run")
    old = json.loads((run / "run.json").read_bytes())
    first, last = record["log"][0]["dev"], old["log"][-1]["dev"]
    assert first["forward"] == pytest.approx(last["forward"], rel=0.3)
    assert first["forward"] < old["log"][0]["dev"]["forward"] * 0.9
    bilm = loading.load(tmp_path / "run" / "model")
    assert "狗" in bilm.vocab
    assert bilm.config.hidden_size == MODEL["hidden_size"]  # taken from the parent


def test_what_the_parent_knows_is_kept(whole, tmp_path):
    """Also units that the text lacks, and those that are too rare in it to be listed for themselves."""
    settings, run = whole
    parent = loading.load(run / "model")
    rare, absent = (unit for unit in parent.vocab.units[:3] if unit != "。")
    make_corpus(tmp_path / "corpus", "新狗。\n" * 9 + f"新{rare}猫。\n")
    paths = replace(settings.paths, train=str(tmp_path / "corpus"), init_from=str(run / "model"))
    changed = replace(settings, paths=paths, model={}, vocab=replace(settings.vocab, min_count=2))
    bilm = build_model(Corpus(tmp_path / "corpus"), changed)
    assert {rare, absent, "新", "狗"} < set(bilm.vocab.units)
    assert "猫" not in bilm.vocab
    for unit in (rare, absent):
        ours, theirs = (m.token_encoder.embedding.weight[m.vocab.id(unit)] for m in (bilm, parent))
        assert torch.equal(ours, theirs)
    stream = BatchLoader(Corpus(tmp_path / "corpus"), bilm.vocab, batch_tokens=99)
    last = stream.collate(np.array([9])).input_ids[0].tolist()
    assert last == [BOS, bilm.vocab.id("新"), bilm.vocab.id(rare), UNK, bilm.vocab.id("。"), EOS]
    small = replace(changed, vocab=replace(changed.vocab, max_size=4))
    assert len(build_model(Corpus(tmp_path / "corpus"), small).vocab.units) == 4


def test_training_goes_on_from_the_embedded_model(whole, tmp_path):
    settings, _ = whole
    paths = replace(settings.paths, init_from=loading.BUNDLED_MODEL)
    one_step = replace(settings.training, max_steps=1)
    pretrain(replace(settings, paths=paths, model={}, training=one_step), tmp_path / "run")
    assert (
        loading.load(tmp_path / "run" / "model").config.projection_dim == loading.read_config().projection_dim
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"hidden_size": 32}, "init_from has hidden_size = 16, but this run has 32"),
        ({"n_layers": 1}, "has n_layers = 2"),
    ],
    ids=str,
)
def test_a_parent_of_another_shape(whole, tmp_path, model, message):
    settings, run = whole
    paths = replace(settings.paths, init_from=str(run / "model"))
    with pytest.raises(ConfigError, match=message):
        pretrain(replace(settings, paths=paths, model=model), tmp_path / "run")
    paths = replace(settings.paths, init_from="nowhere")
    with pytest.raises(loading.ModelFolderError, match="model folder nowhere does not exist"):
        pretrain(replace(settings, paths=paths), tmp_path / "run")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:129] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 68719476736 bytes."),
    ],
    ids=str,
)
def test_a_model_that_is_too_large_for_the_memory(tmp_path, monkeypatch, error):
    def failing(*_):
        raise error

    monkeypatch.setattr(initialization, "BiLM", failing)
    settings = make_settings(tmp_path)
    message = "hidden_size = 16, projection_dim = 8 and .* units does not fit into memory: choose smaller"
    with pytest.raises(ConfigError, match=message):
        pretrain(settings, tmp_path / "run")
    error = RuntimeError("another fault")
    with pytest.raises(RuntimeError, match="another fault"):
        pretrain(settings, tmp_path / "run")


# stopping early


def test_a_run_without_progress_stops_and_keeps_the_best_weights(tmp_path, monkeypatch):
    def rate(step, training):  # learns, and then forgets
        return 0.03 if step < 4 else 3.0

    settings = make_settings(tmp_path, max_steps=40, eval_every=2, patience=2)
    monkeypatch.setattr(trainer, "lr_at", rate)
    record = pretrain(settings, tmp_path / "run")
    best = record["best"]
    assert best["since"] == 2
    assert [row["step"] for row in record["log"]] == [*range(0, best["step"] + 5, 2), best["step"]]
    bilm = loading.load(tmp_path / "run" / "model")
    found = evaluate_perplexity(bilm, trainer.read_sentences(bilm, tmp_path / "heldout.txt"))
    assert found.forward == pytest.approx(record["dev"]["forward"], rel=1e-4)
    others = [row["dev"]["forward"] for row in record["log"][-3:-1]]
    assert record["dev"]["forward"] < min(others)
    monkeypatch.setattr(trainer, "lr_at", lambda *_: pytest.fail("it goes on"))
    again = pretrain(settings, tmp_path / "run")
    assert [row["step"] for row in again["log"]] == [row["step"] for row in record["log"]]
    assert same_weights(tmp_path / "run", tmp_path / "run")


def test_a_sampled_loss_is_not_called_perplexity(tmp_path, caplog):
    settings = make_settings(tmp_path, softmax="sampled", n_samples=4, log_every=2)
    with caplog.at_level("INFO"):
        record = pretrain(settings, tmp_path / "run")
    rows = record["log"][1:]
    assert all("loss" not in row and row["sampled_loss"] > 0 for row in rows)
    lines = [line for line in caplog.text.splitlines() if "left" in line]
    assert len(lines) == 3
    assert all("sampled loss" in line and "perplexity" not in line for line in lines)


# the batch that fits


def test_the_batch_grows_with_the_memory(monkeypatch):
    step = TrainStep(make(list("甲乙丙丁"), max_sentence_length=20))
    sizes = []

    def used(device):  # a megabyte, and a kilobyte for each unit
        return 10**6 + 1000 * sizes[-1]

    original = auto_batch_size.random_batch
    monkeypatch.setattr(auto_batch_size, "random_batch", lambda s, n: sizes.append(n) or original(s, n))
    monkeypatch.setattr(memory, "peak_bytes", used)
    for limit, tokens in (
        (10**7, 7168),
        (2 * 10**7, 15616),
        (10**12, memory_model.MAX_BATCH_TOKENS),
        (10, 1024),
    ):
        monkeypatch.setattr(memory, "available_bytes", lambda device, limit=limit: limit)
        assert auto_batch_size.find_max_batch_tokens(step, DistributedContext()) == pytest.approx(
            tokens, abs=512
        )
    assert all(p.grad is None for p in step.bilm.parameters())


def test_a_run_keeps_the_batch_that_it_found(tmp_path, monkeypatch):
    found = iter([128])
    monkeypatch.setattr(trainer, "find_max_batch_tokens", lambda step, context: next(found))
    settings = make_settings(tmp_path, batch_tokens="auto")
    pretrain(settings, tmp_path / "run")
    record = pretrain(settings, tmp_path / "run")
    assert record["batch_tokens"] == 128
    pretrain(make_settings(tmp_path), tmp_path / "same")
    assert same_weights(tmp_path / "run", tmp_path / "same")
    assert TrainingConfig(batch_tokens="auto").batch_tokens == "auto"


def test_memory_is_known_here():
    assert memory.available_bytes(torch.device("cpu")) >= 0
    memory.reset_peak(torch.device("cpu"))
    assert memory.peak_bytes(torch.device("cpu")) >= 0

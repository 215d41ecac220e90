"""Labels of units as a second task: gradients, and runs that learn them."""

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from spacy_elmo.errors import CheckpointError, ConfigError
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.inference.loading import load
from spacy_elmo.modeling.collate import collate
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.token_encoder import LabelledBatch
from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.pretraining import trainer
from spacy_elmo.pretraining.checkpoint import find_checkpoints
from spacy_elmo.pretraining.config import Paths
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.unit_labels import write_unit_labels
from spacy_elmo.pretraining.estimate import estimate_run
from spacy_elmo.pretraining.step.label_head import LabelHead
from spacy_elmo.pretraining.step.train_step import TrainStep
from spacy_elmo.pretraining.trainer import lr_at, pretrain

from .helpers import (
    LABELS,
    figures,
    labelled,
    make_settings,
    parity,
    same_weights,
    weights,
)
from .test_distributed import together


def make_step_inputs(**config: Any) -> tuple[BiLM, LabelHead, LabelledBatch]:
    torch.manual_seed(0)
    bilm = BiLM(BiLMConfig(projection_dim=4, hidden_size=8, **config), Vocab(list("甲乙丙")))
    batch = collate(bilm, ["甲乙丙", "丙甲", "乙"])
    labels = torch.tensor([[-1, 0, 2, 1, -1], [-1, 1, -1, -1, -1], [-1, 2, -1, -1, -1]])
    return bilm, LabelHead(4, 3), LabelledBatch(**vars(batch), labels=labels)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_gradients_are_those_of_both_tasks_together(n_threads, monkeypatch):
    bilm, head, batch = make_step_inputs()
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    parameters = [p for p in (*bilm.parameters(), *head.parameters()) if p.requires_grad]
    step = TrainStep(bilm)
    alone = step(batch, 0)
    assert alone.label_nll is None
    without = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]

    # The second task alone, by autograd through the layers that a component reads.
    layers = bilm(batch)[1:].mean(0)
    keep = batch.labels != -1
    scores = head.linear(F.layer_norm(layers[keep], layers.shape[2:]))
    nll = F.cross_entropy(scores, batch.labels[keep], reduction="sum")
    extra = torch.autograd.grad(0.3 * nll / alone.n_targets, parameters, allow_unused=True)

    for parameter in parameters:
        parameter.grad = None
    both = TrainStep(bilm, label_head=head, label_loss_weight=0.3)(batch, 0)
    torch.testing.assert_close(both.nll, alone.nll)
    torch.testing.assert_close(both.label_nll, nll.detach())
    for parameter, first, second in zip(parameters, without, extra, strict=True):
        expected = first if second is None else first + second
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)


def gradients(bilm: BiLM) -> list[torch.Tensor]:
    """Take the gradients from the parameters."""
    found = [p.grad.clone() for p in bilm.parameters() if p.requires_grad]
    bilm.zero_grad()
    return found


OPTIONS = {
    "dropout": {"dropout": 0.3},
    "bf16": {"dtype": torch.bfloat16},
    "sampled": {"n_samples": 1},
    "all": {"dropout": 0.3, "dtype": torch.bfloat16, "n_samples": 1},
}


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_without_weight_or_labels_the_language_models_train_alone(options, clip):
    bilm, head, batch = make_step_inputs(cell_clip=clip, proj_clip=clip)
    alone = TrainStep(bilm, **options)(batch, 7)
    expected = gradients(bilm)
    none = replace(batch, labels=torch.full_like(batch.labels, -1))
    for weight, each in ((0.0, batch), (0.3, none)):
        loss = TrainStep(bilm, label_head=head, label_loss_weight=weight, **options)(each, 7)
        assert torch.equal(loss.nll, alone.nll)
        assert all(map(torch.equal, gradients(bilm), expected))
        assert all(bool((p.grad == 0).all()) for p in head.parameters())
    assert (loss.n_labels, float(loss.label_nll)) == (0, 0)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_labels_change_all_weights_below_the_head(options):
    bilm, head, batch = make_step_inputs()
    TrainStep(bilm, label_head=head, label_loss_weight=0.0, **options)(batch, 7)
    before = gradients(bilm)
    TrainStep(bilm, label_head=head, label_loss_weight=0.3, **options)(batch, 7)
    names = [name for name, p in bilm.named_parameters() if p.requires_grad]
    same = [n for n, a, b in zip(names, gradients(bilm), before, strict=True) if torch.equal(a, b)]
    assert same == ["softmax_bias"]


def test_the_labels_are_learned(tmp_path):
    settings = labelled(make_settings(tmp_path, max_steps=40, eval_every=10), tmp_path / "labels")
    pretrain(settings, tmp_path / "run")
    losses = [row["label_loss"] for row in figures(tmp_path / "run") if "label_loss" in row]
    assert losses[-1] < 0.1 < losses[0]
    assert not [name for name in weights(tmp_path / "run") if "label" in name]
    described = load(tmp_path / "run" / "model").config.meta
    assert described["labels"] == "a test"


def test_a_run_with_labels_goes_on_to_the_bit(tmp_path, monkeypatch):
    settings = labelled(make_settings(tmp_path), tmp_path / "labels")
    pretrain(settings, tmp_path / "whole")
    interrupted = []

    def failing(step, training):
        if step == 3 and not interrupted:
            interrupted.append(step)
            raise KeyboardInterrupt
        return lr_at(step, training)

    monkeypatch.setattr(trainer, "lr_at", failing)
    with pytest.raises(KeyboardInterrupt):
        pretrain(settings, tmp_path / "run")
    pretrain(settings, tmp_path / "run")
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")


def test_a_run_does_not_go_on_with_other_labels(tmp_path):
    settings = make_settings(tmp_path)
    with_labels = labelled(settings, tmp_path / "labels")
    pretrain(settings, tmp_path / "without")
    pretrain(with_labels, tmp_path / "with")
    corpus = Corpus(settings.paths.train)
    write_unit_labels(tmp_path / "other", corpus, [*LABELS, "third"], parity(corpus))
    with pytest.raises(CheckpointError, match="with holds a run with labels"):
        pretrain(settings, tmp_path / "with")
    for run, changed in (("with", labelled(settings, tmp_path / "other")), ("without", with_labels)):
        with pytest.raises(CheckpointError, match=f"{run} holds a run with other labels, or none"):
            pretrain(changed, tmp_path / run)


@pytest.mark.parametrize("value", ["x", None, [1]])
def test_a_checkpoint_with_another_sum_of_label_losses_is_damaged(tmp_path, value):
    settings = labelled(make_settings(tmp_path, max_steps=3), tmp_path / "labels")
    pretrain(settings, tmp_path / "run")
    file = find_checkpoints(tmp_path / "run" / "checkpoints")[-1] / "state.json"
    state = json.loads(file.read_bytes())
    state["metrics"]["label_nll"] = value
    file.write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match="is damaged"):
        pretrain(replace(settings, training=replace(settings.training, max_steps=4)), tmp_path / "run")


def test_a_checkpoint_without_the_label_head_is_damaged(tmp_path):
    settings = labelled(make_settings(tmp_path), tmp_path / "labels")
    pretrain(settings, tmp_path / "run")
    last = find_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    tensors = load_file(last / "state.safetensors")
    assert tensors.pop("label_head.linear.bias").shape == (2,)
    save_file(tensors, last / "state.safetensors")
    state = json.loads((last / "state.json").read_bytes())
    state["sha256"] = sha256((last / "state.safetensors").read_bytes()).hexdigest()
    (last / "state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match="is damaged"):
        pretrain(settings, tmp_path / "run")


@pytest.mark.parametrize("batch_tokens", [128, 12], ids=["many sentences", "one sentence"])
def test_two_processes_with_labels_give_the_weights_of_one(tmp_path, batch_tokens):
    changes = {"dropout": 0.0, "learning_rate": 0.003, "batch_tokens": batch_tokens}
    settings = labelled(make_settings(tmp_path, **changes), tmp_path / "labels")
    pretrain(settings, tmp_path / "one")
    assert together(tmp_path, tmp_path / "two", labels=settings.paths.labels, **changes) == [0, 0]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5)
    for a, b in zip(*(figures(tmp_path / name) for name in ("one", "two")), strict=True):
        assert a.get("label_loss", 0) == pytest.approx(b.get("label_loss", 0), rel=1e-3)


def test_a_model_tells_the_labels_of_its_parent(tmp_path):
    settings = labelled(make_settings(tmp_path, max_steps=1), tmp_path / "labels")
    pretrain(settings, tmp_path / "parent")
    parent = str(tmp_path / "parent" / "model")
    for name, labels in (("with", settings.paths.labels), ("without", None)):
        child = replace(settings, paths=replace(settings.paths, labels=labels, init_from=parent))
        pretrain(child, tmp_path / name)
        assert load(tmp_path / name / "model").config.meta["labels"] == "a test"
    corpus = Corpus(settings.paths.train)
    write_unit_labels(tmp_path / "other", corpus, LABELS, parity(corpus), source="another")
    both = replace(settings.paths, labels=str(tmp_path / "other"), init_from=parent)
    pretrain(replace(settings, paths=both), tmp_path / "both")
    assert load(tmp_path / "both" / "model").config.meta["labels"] == "a test; another"


def test_early_stopping_keeps_the_labels(tmp_path):
    settings = make_settings(tmp_path, max_steps=200, eval_every=2, patience=1, learning_rate=0.5)
    record = pretrain(labelled(settings, tmp_path / "labels"), tmp_path / "run")
    assert record["log"][-1]["step"] < 200
    assert load(tmp_path / "run" / "model").config.meta["labels"] == "a test"


def test_an_estimate_counts_the_labels(tmp_path):
    settings = make_settings(tmp_path)
    limits = {"memory": 1e9, "gpus": 1}
    alone = estimate_run(settings, **limits)
    both = estimate_run(labelled(settings, tmp_path / "labels"), **limits)
    assert both.memory["activations"] >= alone.memory["activations"]
    assert both.tokens_per_second > 0
    elsewhere = replace(settings, paths=Paths(labels=str(tmp_path / "labels")))
    with pytest.raises(ConfigError, match="labels belongs to a corpus"):
        estimate_run(elsewhere, corpus_bytes=1e6, vocab_size=100)


def test_the_largest_batch_is_found_with_labels(tmp_path):
    settings = labelled(make_settings(tmp_path, batch_tokens="auto", max_steps=1), tmp_path / "labels")
    record = pretrain(settings, tmp_path / "run")
    assert record["batch_tokens"] >= 1024

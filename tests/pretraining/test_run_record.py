"""A run continues only with its own settings and parent, and is never overwritten by another."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from spacy_elmo.errors import CheckpointError
from spacy_elmo.pretraining.checkpoint import find_checkpoints
from spacy_elmo.pretraining.trainer import pretrain

from .helpers import same_weights, weights


def test_a_finished_run_without_checkpoints_is_not_overwritten(whole, tmp_path):
    settings, run = whole
    output = tmp_path / "run"
    shutil.copytree(run, output)
    shutil.rmtree(output / "checkpoints")
    before = {p: p.read_bytes() for p in output.rglob("*") if p.is_file()}
    other = replace(settings, training=replace(settings.training, seed=5))
    for given in (settings, other):
        with pytest.raises(CheckpointError, match=r"holds a model but no checkpoint: name another folder"):
            pretrain(given, output)
    assert {p: p.read_bytes() for p in output.rglob("*") if p.is_file()} == before
    shutil.rmtree(output / "model")
    with pytest.raises(CheckpointError, match=r"other settings \(\[training\] seed was 0, now it is 5\)"):
        pretrain(other, output)
    pretrain(settings, output)  # begins again
    assert same_weights(output, run)


def test_a_damaged_record_without_checkpoints(whole, tmp_path):
    settings, run = whole
    (tmp_path / "run").mkdir()
    record = {**json.loads((run / "run.json").read_bytes()), "settings": {"training": None}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=r"run.json is damaged: name another folder"):
        pretrain(settings, tmp_path / "run")


def test_a_run_that_was_stopped_before_its_first_steps_may_begin_with_other_settings(whole, tmp_path):
    settings, run = whole
    (tmp_path / "run").mkdir()
    record = json.loads((run / "run.json").read_bytes())
    record["log"] = record["log"][:1]  # the evaluation before all steps
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    pretrain(replace(settings, training=replace(settings.training, seed=5)), tmp_path / "run")


def test_a_run_keeps_its_parent(whole, tmp_path):
    settings, run = whole
    parents = [None, str(run / "model"), str(find_checkpoints(run / "checkpoints")[-1])]
    random, of_model, of_checkpoint = (
        replace(settings, paths=replace(settings.paths, init_from=parent)) for parent in parents
    )
    shutil.copytree(run, tmp_path / "random")
    before = (run / "run.json").read_bytes()
    with pytest.raises(CheckpointError, match=r"\[paths\] init_from was None, now it is .*name another"):
        pretrain(of_model, tmp_path / "random")
    assert (tmp_path / "random" / "run.json").read_bytes() == before
    pretrain(of_model, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"\[paths\] init_from was .*name another"):
        pretrain(of_checkpoint, tmp_path / "run")
    parent = f"{run}/../{run.name}/model/"
    same = replace(settings, paths=replace(settings.paths, init_from=parent))
    for given in (of_model, same, random):  # the last one leaves the parent out
        assert pretrain(given, tmp_path / "run")["settings"]["paths"]["init_from"] == parents[1]
    finished = weights(tmp_path / "run")
    for name in ("checkpoints", "model"):
        shutil.rmtree(tmp_path / "run" / name)
    pretrain(random, tmp_path / "run")
    assert all(torch.equal(finished[name], tensor) for name, tensor in weights(tmp_path / "run").items())

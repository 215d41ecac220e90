"""A run that was interrupted continues as if it had not been; one that cannot begin leaves nothing."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file

from spacy_elmo.atomic_io import OutputError
from spacy_elmo.errors import CheckpointError, ConfigError, CorpusError, ElmoError
from spacy_elmo.pretraining import checkpoint, trainer
from spacy_elmo.pretraining.checkpoint import find_checkpoints
from spacy_elmo.pretraining.config import Paths, VocabConfig
from spacy_elmo.pretraining.trainer import lr_at, pretrain

from .helpers import MODEL, cyclic_text, figures, make_corpus, make_settings, same_weights


@pytest.mark.parametrize("stop", range(1, 6))
def test_a_run_that_failed_goes_on(whole, tmp_path, monkeypatch, stop):
    settings, run = whole
    steps = []

    def failing(step, training):
        steps.append(step)
        if step == stop and steps.count(step) == 1:
            raise KeyboardInterrupt
        return lr_at(step, training)

    monkeypatch.setattr(trainer, "lr_at", failing)
    with pytest.raises(KeyboardInterrupt):
        pretrain(settings, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    pretrain(settings, tmp_path / "run")
    # It continued after the last checkpoint, not at the beginning.
    assert steps == [*range(stop + 1), *range(stop - stop % 2, 6)]
    assert same_weights(tmp_path / "run", run)
    assert figures(tmp_path / "run") == figures(run)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from pretraining.helpers import make_settings
from spacy_elmo.pretraining import {module}
from spacy_elmo.pretraining.trainer import pretrain

calls, original = [], {module}.{name}

def killing(*args, **kwargs):
    calls.append(args)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)

{module}.{name} = killing
pretrain(make_settings(Path({folder!r})), Path({output!r}))
"""


@pytest.mark.parametrize(
    ("module", "name", "call", "step"),
    [("trainer", "lr_at", 4, 2), ("checkpoint", "save_file", 3, 4), ("trainer", "BiLM.save", 4, 6)],
    ids=["between checkpoints", "while a checkpoint is written", "before the model is written"],
)
def test_a_run_that_was_killed_goes_on(whole, tmp_path, module, name, call, step):
    settings, run = whole
    output = tmp_path / "run"
    tests = str(Path(__file__).parents[1])
    code = KILLED.format(
        tests=tests, module=module, name=name, call=call, folder=str(run.parent), output=str(output)
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert find_checkpoints(output / "checkpoints")[-1].name == f"step-{step:09d}"
    pretrain(settings, output)
    assert same_weights(output, run)
    assert figures(output) == figures(run)
    found, expected = (
        {p.relative_to(f) for p in f.rglob("*") if p.parent.name != "events"} for f in (output, run)
    )
    assert found == expected  # nothing half-made is left


def test_a_disk_that_is_full_while_a_checkpoint_is_written(whole, tmp_path, monkeypatch):
    settings, run = whole

    def full(tensors, path):
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", full)
        with pytest.raises(OutputError, match=r"Cannot write a checkpoint to .*No space left on device"):
            pretrain(settings, tmp_path / "run")
    assert not find_checkpoints(tmp_path / "run" / "checkpoints")
    pretrain(settings, tmp_path / "run")
    assert same_weights(tmp_path / "run", run)


def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(whole, tmp_path):
    settings, run = whole
    shutil.copytree(run, tmp_path / "run")
    last = find_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    for file, data in (
        ("state.safetensors", b"x" * 50),
        ("model/weights.safetensors", b"x" * 50),
        ("state.json", b"[]"),
        ("state.json", b"{"),
        ("state.json", (last / "state.json").read_bytes().replace(b'"step": ', b'"step": 9', 1)),
        (
            "state.json",
            (last / "state.json").read_bytes().replace(b'"settings": {', b'"settings": {"\\ud800": {}, '),
        ),
    ):
        before = (last / file).read_bytes()
        (last / file).write_bytes(data)
        with pytest.raises(CheckpointError, match=f"{last.name} is damaged: delete it"):
            pretrain(settings, tmp_path / "run")
        (last / file).write_bytes(before)
    shutil.rmtree(last)
    pretrain(settings, tmp_path / "run")
    assert same_weights(tmp_path / "run", run)


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("training", {"dropout": 0.3}),
        ("training", {"max_steps": 5}),
        ("vocab", {"max_size": 5}),
        ("model", {"projection_dim": 12}),
        ("model", {"n_layers": 1}),
    ],
    ids=str,
)
def test_other_settings_do_not_go_on_with_a_run(whole, section, changes):
    settings, run = whole
    part = getattr(settings, section)
    changed = {**part, **changes} if section == "model" else replace(part, **changes)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with pytest.raises(CheckpointError, match=r"holds a run with other settings .*: name another folder"):
        pretrain(replace(settings, **{section: changed}), run)
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_a_run_is_made_longer(whole, tmp_path, caplog):
    settings, run = whole
    shutil.copytree(run, tmp_path / "run")
    changed = replace(settings.training, max_steps=9, eval_every=3, max_checkpoints=1)
    with caplog.at_level("INFO"):
        record = pretrain(replace(settings, training=changed), tmp_path / "run")
    assert [row["step"] for row in record["log"]] == [0, 4, 6, 9]
    assert record["settings"]["training"]["max_steps"] == 9
    rate, was = (lr_at(6, training) for training in (changed, settings.training))
    assert (
        f"max_steps changed from 6 to 9: the learning rate continues at {rate:.2g} instead of {was:.2g}"
        in (caplog.text)
    )
    assert not same_weights(tmp_path / "run", run)


def test_a_run_goes_on_where_its_files_were_moved_to(whole, tmp_path):
    settings, run = whole
    for name in ("corpus", "run"):
        shutil.copytree(run.parent / name, tmp_path / name)
    shutil.copy(run.parent / "heldout.txt", tmp_path)
    shutil.rmtree(find_checkpoints(tmp_path / "run" / "checkpoints")[-1])
    paths = Paths(train=str(tmp_path / "corpus"), dev=str(tmp_path / "heldout.txt"))
    pretrain(replace(settings, paths=paths), tmp_path / "run")
    assert same_weights(tmp_path / "run", run)


def test_a_corpus_that_was_damaged_does_not_begin(tmp_path):
    settings = make_settings(tmp_path)
    path = tmp_path / "corpus" / "shard-00000.ids.npy"
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=r"shard-00000.ids.npy is damaged"):
        pretrain(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", [cyclic_text(300, seed=5), cyclic_text(300).replace("甲", "水火")])
def test_another_corpus_does_not_go_on_with_a_run(tmp_path, text):
    settings = make_settings(tmp_path, max_steps=2)
    pretrain(settings, tmp_path / "run")
    make_corpus(tmp_path / "corpus", text)
    with pytest.raises(CheckpointError, match="holds a run with another corpus"):
        pretrain(settings, tmp_path / "run")


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    with pytest.raises(
        ElmoError, match=r"The loss became (nan|inf) at step 1; .* lower learning_rate"
    ) as caught:
        pretrain(make_settings(tmp_path, learning_rate=1e30), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    ("bad", "message"), [(2, "The loss became nan at step 3"), (3, "weights .* at step 4")]
)
def test_no_checkpoint_is_made_of_numbers_that_are_none(tmp_path, monkeypatch, bad, message):
    def rate(step, training):
        return float("nan") if step == bad else lr_at(step, training)

    settings = make_settings(tmp_path)
    monkeypatch.setattr(trainer, "lr_at", rate)
    with pytest.raises(CheckpointError, match=message):
        pretrain(settings, tmp_path / "run")
    (kept,) = find_checkpoints(tmp_path / "run" / "checkpoints")
    assert kept.name == "step-000000002"
    for file in ("state.safetensors", "model/weights.safetensors"):
        assert all(t.isfinite().all() for t in load_file(kept / file).values())
    assert not (tmp_path / "run" / "model").exists()


def test_old_checkpoints_are_deleted(tmp_path):
    pretrain(make_settings(tmp_path, max_checkpoints=1, checkpoint_every=1), tmp_path / "run")
    assert os.listdir(tmp_path / "run" / "checkpoints") == ["step-000000006"]


def test_nothing_is_written_when_a_run_cannot_begin(tmp_path):
    settings = make_settings(tmp_path)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "foreign.txt").write_bytes("你好".encode("gb18030"))
    corpus, heldout = settings.paths.train, settings.paths.dev
    before = sorted(os.listdir(tmp_path))
    for changes, error, message in (
        ({"paths": Paths(train=corpus)}, ConfigError, "train and dev: give both"),
        ({"paths": Paths(dev=heldout)}, ConfigError, "train and dev: give both"),
        ({"paths": Paths(train="nowhere", dev=heldout)}, CorpusError, "nowhere is not a corpus folder"),
        ({"paths": Paths(train=corpus, dev="nowhere")}, CorpusError, "nowhere cannot be read"),
        ({"paths": Paths(train=corpus, dev=f"{tmp_path}/empty.txt")}, CorpusError, "empty"),
        ({"paths": Paths(train=corpus, dev=f"{tmp_path}/foreign.txt")}, CorpusError, "not UTF-8"),
        ({"model": {"projektion": 8}}, ConfigError, '"projektion" is not a setting'),
        ({"model": {"projection_dim": "8"}}, ConfigError, "projection_dim = '8'"),
        ({"model": {"projection_dim": 32, "hidden_size": 16}}, ConfigError, "hidden_size must be"),
        ({"model": {**MODEL, "units": "word"}}, ConfigError, "the corpus was made with 'char'"),
        ({"model": {**MODEL, "max_sentence_length": 99}}, ConfigError, "the corpus was made with 20"),
        ({"vocab": VocabConfig(min_count=10**6)}, CorpusError, "lower min_count"),
    ):
        with pytest.raises(error, match=message) as caught:
            pretrain(replace(settings, **changes), tmp_path / "new" / "run")
        assert "\n" not in str(caught.value)
        assert sorted(os.listdir(tmp_path)) == before


def test_other_peoples_folders_are_left_alone(tmp_path):
    settings = make_settings(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"")
    with pytest.raises(OutputError, match="it holds other files"):
        pretrain(settings, tmp_path / "photos")
    with pytest.raises(OutputError, match="it is a file"):
        pretrain(settings, tmp_path / "heldout.txt")
    assert os.listdir(tmp_path / "photos") == ["cat.jpg"]

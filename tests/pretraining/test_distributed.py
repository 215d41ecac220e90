"""Many processes train as one does, with half the batch each; one that is lost ends the run."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from spacy_elmo.errors import ElmoError
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.pretraining import distributed, trainer
from spacy_elmo.pretraining.checkpoint import find_checkpoints
from spacy_elmo.pretraining.distributed import DistributedError
from spacy_elmo.pretraining.optim import lr_at
from spacy_elmo.pretraining.trainer import pretrain

from .helpers import figures, make_settings, same_weights, weights

# A server that has imported what they need starts processes in a moment, and without this one's threads.
SERVER = multiprocessing.get_context("forkserver")
PACKAGES = ["torch.distributed", "torch.utils.tensorboard", "matplotlib.figure"]  # those that are there
SERVER.set_forkserver_preload(["spacy_elmo.pretraining.trainer", "pretraining.helpers", *PACKAGES])


def weights_of_one(place: dict[str, str], folder: Path) -> None:
    """One of two processes whose first weights differ; writes what it has when they are shared."""
    os.environ |= place
    rank = int(place["RANK"])
    torch.manual_seed(rank)
    with distributed.init_distributed() as context:
        bilm = BiLM(BiLMConfig(projection_dim=4, hidden_size=8), Vocab(list("甲乙丙")))
        context.share_weights(bilm)
        torch.save(bilm.state_dict(), folder / f"{rank}.pt")
        other = BiLM(BiLMConfig(projection_dim=4, hidden_size=8), Vocab(list("甲乙丙丁")[: 3 + rank]))
        for name, model, labels in (("vocabularies", other, None), ("labels", bilm, f"digest {rank}")):
            try:
                context.share_weights(model, labels)
            except DistributedError as error:
                (folder / f"{name}-{rank}.txt").write_text(str(error))


def train(
    place: dict[str, str],
    folder: Path,
    output: Path,
    at: tuple[int, int] | None,
    sig: signal.Signals,
    changes: dict[str, Any],
) -> None:
    """Run one process of a training.

    place: environment variables as torchrun sets them. at: (rank, step) at which it gets a signal.
    """
    os.environ |= place
    torch.set_num_threads(1)

    def disturbed(step, training):
        first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if (int(os.environ["RANK"]), step) == at and first:
            os.kill(os.getpid(), sig)
        return lr_at(step, training)

    trainer.lr_at = disturbed
    try:
        trainer.pretrain(make_settings(folder, **changes), output)
    except ElmoError as error:
        (output / f"error-{place['RANK']}.txt").write_text(str(error))
        sys.exit(1)


def together(
    folder: Path, output: Path, *, size: int = 2, at=None, sig=signal.SIGKILL, **changes
) -> list[int | None]:
    """A run of some processes over folder/corpus; the exit status of each."""
    make_settings(folder)
    return start(train, (folder, output, at, sig, changes), size=size)


def start(work, args: tuple, *, size: int = 2) -> list[int | None]:
    """Some processes that find one another, and their exit status. work: gets their place, and `args`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    places = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]
    processes = [SERVER.Process(target=work, args=(place, *args)) for place in places]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    """A folder with the run of two processes that nobody disturbed."""
    folder = tmp_path_factory.mktemp("pair")
    assert together(folder, folder / "run") == [0, 0]
    return folder


def test_the_first_weights_are_those_of_one_process(tmp_path):
    start(weights_of_one, (tmp_path,))
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    for rank in range(2):
        for name in ("vocabularies", "labels"):
            assert "built different models" in (tmp_path / f"{name}-{rank}.txt").read_text()


@pytest.mark.parametrize("softmax", ["full", "sampled"])
def test_two_processes_give_the_weights_of_one(tmp_path, softmax):
    # Dropout masks and candidates differ from process to process, so they are left out.
    changes = {"dropout": 0.0, "softmax": softmax, "n_samples": 1000, "learning_rate": 0.003}
    pretrain(make_settings(tmp_path, **changes), tmp_path / "one")
    assert together(tmp_path, tmp_path / "two", **changes) == [0, 0]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5)
    records = [json.loads((tmp_path / n / "run.json").read_bytes()) for n in ("one", "two")]
    assert records[0]["tokens_seen"] == records[1]["tokens_seen"]
    for a, b in zip(*(figures(tmp_path / n) for n in ("one", "two")), strict=True):
        assert a["dev"] == pytest.approx(b["dev"], rel=1e-3)


def test_a_process_that_dies_ends_the_others_and_the_run_goes_on(pair, tmp_path):
    output = tmp_path / "run"
    assert together(pair, output, at=(0, 3)) == [-signal.SIGKILL, 1]
    said = output / "error-1.txt"
    assert "Process 1 of 2 lost contact with another, which died or hangs" in said.read_text()
    said.unlink()
    assert find_checkpoints(output / "checkpoints")[-1].name == "step-000000002"
    assert together(pair, output) == [0, 0]
    assert same_weights(output, pair / "run")
    assert figures(output) == figures(pair / "run")


def test_sigterm_to_one_process_stops_both_at_one_step(pair, tmp_path):
    output = tmp_path / "run"
    assert together(pair, output, at=(1, 2), sig=signal.SIGTERM) == [-signal.SIGTERM] * 2
    assert find_checkpoints(output / "checkpoints")[-1].name == "step-000000003"
    assert not (output / "model").exists()
    assert together(pair, output) == [0, 0]
    assert same_weights(output, pair / "run")
    assert figures(output) == figures(pair / "run")


def test_sigterm_makes_a_checkpoint_first(whole, tmp_path):
    settings, run = whole
    output = tmp_path / "run"
    assert together(run.parent, output, size=1, at=(0, 4), sig=signal.SIGTERM) == [-signal.SIGTERM]
    assert find_checkpoints(output / "checkpoints")[-1].name == "step-000000005"
    pretrain(settings, output)
    assert same_weights(output, run)
    assert figures(output) == figures(run)


PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from pretraining.test_distributed import train
place = {{name: os.environ[name] for name in ("RANK", "LOCAL_RANK")}}
train(place, Path({folder!r}), Path({output!r}), (1, 3), signal.SIGKILL, {{}})
"""


def test_torchrun_starts_a_run_again(pair, tmp_path):
    program = tmp_path / "program.py"
    places = {"tests": str(Path(__file__).parents[1]), "folder": str(pair), "output": str(tmp_path / "run")}
    program.write_text(PROGRAM.format(**places), encoding="utf8")
    # More than one: once in many runs gloo's threads abort a process as well.
    restarts = "--max-restarts=3"
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", restarts]
    done = subprocess.run(
        [sys.executable, *command, str(program)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    assert same_weights(tmp_path / "run", pair / "run")
    assert figures(tmp_path / "run") == figures(pair / "run")


def test_more_processes_than_sentences(tmp_path):
    changes = {"batch_tokens": 2, "max_steps": 2}  # one sentence a batch: the other process has none
    assert together(tmp_path, tmp_path / "run", **changes) == [0, 0]
    pretrain(make_settings(tmp_path, **changes), tmp_path / "one")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "run")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5)


def test_a_run_goes_on_with_another_number_of_processes(pair, tmp_path):
    output = tmp_path / "run"
    together(pair, output, at=(0, 3))
    record = pretrain(make_settings(pair), output)
    assert [row["step"] for row in record["log"]] == [0, 4, 6]


@pytest.mark.parametrize(("name", "value"), [("RANK", "abc"), ("WORLD_SIZE", "two"), ("LOCAL_RANK", "")])
def test_a_place_that_is_no_number(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(DistributedError, match=f"{name} = '{value}' is not a whole number: start the"):
        pretrain(make_settings(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()

"""Kills and full disks at random moments: the last good state loads, and the work goes on to the same result.

Each piece of work runs in a child that is forked from a process which has imported everything and computed
nothing. It is killed, or its disk is full, at a random moment; it is then run to its end in the same place,
and compared with one that nobody disturbed: every file but logs, and no file besides.
"""

import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import spacy
import torch
from formats.helpers import OPTIONS, bilm_tf_tensors, write_bilm_tf
from pipeline.helpers import make_bilm
from pretraining.helpers import cyclic_text, make_settings

from spacy_elmo.cli.commands import app
from spacy_elmo.errors import ElmoError
from spacy_elmo.inference import loading
from spacy_elmo.pretraining.checkpoint import find_checkpoints
from spacy_elmo.pretraining.data.corpus_builder import SegmentationSettings, build_corpus
from spacy_elmo.pretraining.trainer import pretrain

MOST_SECONDS = 300


class Work(NamedTuple):
    """What is disturbed. inputs, output: folders.

    prepare: makes what is read, and, where something older is replaced, that. run: does the work; called
    again, it goes on. loads: checks what is at the place at any moment. size: processes that work together.
    """

    prepare: Callable[[Path, Path], None]
    run: Callable[[Path, Path], None]
    loads: Callable[[Path], None]
    size: int = 1


def works() -> dict[str, Work]:
    """All work, by name."""
    return {
        "corpus": Work(_texts, _corpus, _nothing),
        "pretraining": Work(_training_inputs, _pretrain, _training_loads),
        "pretraining of two": Work(_training_inputs, _pretrain, _training_loads, size=2),
        "to_disk": Work(_pipelines, _to_disk, _pipeline_loads),
        "embed": Work(_embed_inputs, _embed, _nothing),
        "convert": Work(_convert_inputs, _convert, _model_loads),
    }


def _nothing(output: Path) -> None:
    """Nothing is there before the end."""


def _texts(inputs: Path, output: Path) -> None:
    for i in range(6):
        (inputs / f"{i}.txt").write_text(cyclic_text(4000, seed=i), encoding="utf8")


def _corpus(inputs: Path, output: Path) -> None:
    build_corpus(sorted(inputs.iterdir()), output / "corpus", SegmentationSettings(), block=2**13, dedup=True)


def _training_inputs(inputs: Path, output: Path) -> None:
    make_settings(inputs)


def _pretrain(inputs: Path, output: Path) -> None:
    pretrain(make_settings(inputs, max_steps=20, checkpoint_every=2, eval_every=5), output / "run")


def _training_loads(output: Path) -> None:
    for checkpoint in find_checkpoints(output / "run" / "checkpoints"):
        loading.load(checkpoint / "model")
    if (output / "run" / "model").exists():
        loading.load(output / "run" / "model")


def _pipelines(inputs: Path, output: Path) -> None:
    for name, seed in (("old", 1), ("new", 2)):
        make_bilm("char", projection_dim=64, hidden_size=256, seed=seed).save(inputs / name)
    _nlp(inputs / "old").to_disk(output / "nlp")


def _nlp(model: Path) -> spacy.language.Language:
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": str(model)}})
    return nlp


def _to_disk(inputs: Path, output: Path) -> None:
    _nlp(inputs / "new").to_disk(output / "nlp")


def _pipeline_loads(output: Path) -> None:
    """The older model or the new one; spaCy writes what lies next to it, a file at a time."""
    spacy.blank("zh").add_pipe("elmo").from_disk(output / "nlp" / "elmo", exclude=["vocab"])


def _embed_inputs(inputs: Path, output: Path) -> None:
    make_bilm("char").save(inputs / "model")
    (inputs / "text.txt").write_text(cyclic_text(3000).replace("", " "), encoding="utf8")


def _embed(inputs: Path, output: Path) -> None:
    arguments = [inputs / "model", inputs / "text.txt", output / "v.hdf5"]
    app(["embed", *map(str, arguments)], standalone_mode=False)


def _convert_inputs(inputs: Path, output: Path) -> None:
    options = json.loads(json.dumps(OPTIONS))
    options["lstm"] |= {"dim": 512, "projection_dim": 128}
    write_bilm_tf(inputs, options, bilm_tf_tensors(options, scale=0.1))
    make_bilm("char").save(output / "model")  # is replaced


def _convert(inputs: Path, output: Path) -> None:
    sources = [str(inputs / name) for name in ("options.json", "model.hdf5")]
    app(["convert", *sources, str(output / "model"), "--from", "allennlp"], standalone_mode=False)


def _model_loads(output: Path) -> None:
    loading.load(output / "model")


# --- Disturbing ---


def disturb(count: int, seed: int = 0, *, only: str | None = None) -> Counter:
    """Disturb work `count` times, each kind in turn. Prints what went wrong; counts what was done."""
    torch.set_num_threads(1)
    found = {name: work for name, work in works().items() if not only or only == name}
    rng, done = random.Random(seed), Counter()
    with tempfile.TemporaryDirectory() as place:
        wholes = {}
        for name, work in found.items():
            wholes[name] = _whole(work, Path(place) / name)
        for i in range(count):
            name = list(found)[i % len(found)]
            how = rng.choice(["SIGKILL", "SIGKILL", "SIGTERM", "full disk", "file size"])
            with _room(Path(place) / "room", how) as room:
                problem, when = _once(found[name], wholes[name], room, how, rng)
            done[f"{name}: {how}, {when}"] += 1
            if problem:
                done["WRONG"] += 1
                print(f"{i} ({seed}), {name}, {how}: {problem}", flush=True)
    return done


class _Whole(NamedTuple):
    """Work that nobody disturbed: its inputs, files, how long it took, and the bytes that it wrote."""

    inputs: Path
    files: dict[str, bytes]
    seconds: float
    size: int


def _whole(work: Work, place: Path) -> _Whole:
    inputs, output = place / "inputs", place / "output"
    inputs.mkdir(parents=True)
    output.mkdir()
    work.prepare(inputs, output)
    begin = time.monotonic()
    status = _wait(_start(work, inputs, output))
    assert status == 0, f"undisturbed, it ended with {status}"
    files = _files(output)
    return _Whole(inputs, files, time.monotonic() - begin, sum(map(len, files.values())))


def _once(work: Work, whole: _Whole, room: Path, how: str, rng: random.Random) -> tuple[str | None, str]:
    """Disturb work once and let it go on. Returns what is wrong, if anything, and how far it was."""
    output = room / "output"
    output.mkdir()
    with tempfile.TemporaryDirectory() as again:  # what lay there before, as in _whole
        work.prepare(Path(again), output)
    if how == "full disk":
        _fill(room, int(whole.size * rng.uniform(0, 1.5)))
    limit = int(whole.size * rng.uniform(0.05, 0.9)) if how == "file size" else None
    processes = _start(work, whole.inputs, output, limit=limit)
    if how.startswith("SIG"):
        _sleep_until_over(processes, rng.uniform(0, 1.1) * whole.seconds)
        for process in rng.sample(processes, rng.randint(1, len(processes))):
            with suppress(ProcessLookupError):
                os.kill(process, getattr(signal, how))
    status = _wait(processes)
    expected = {0, 1, -signal.SIGKILL, -signal.SIGTERM}
    if status not in expected:
        return f"it ended with {status}", "wrong"
    try:
        work.loads(output)
    except Exception as error:
        return f"what was there does not load: {error!r}", "wrong"
    (room / "ballast").unlink(missing_ok=True)
    status_again = _wait(_start(work, whole.inputs, output))
    if status_again:
        return f"it did not go on: {status_again}", "wrong"
    files = _files(output)
    if files.keys() != whole.files.keys():
        return f"other files: {sorted(files.keys() ^ whole.files.keys())}", "wrong"
    other = [name for name in files if files[name] != whole.files[name]]
    return (f"other contents: {other}" if other else None), "at its end" if status == 0 else "stopped"


def _start(work: Work, inputs: Path, output: Path, *, limit: int | None = None) -> list[int]:
    """The numbers of the processes of a piece of work."""
    sys.stdout.flush()
    environment: dict[str, str] = {}
    if work.size > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {"WORLD_SIZE": str(work.size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [_fork(work, inputs, output, limit, environment, rank) for rank in range(work.size)]


def _fork(
    work: Work, inputs: Path, output: Path, limit: int | None, environment: dict[str, str], rank: int
) -> int:
    child = os.fork()
    if child:
        return child
    try:
        signal.alarm(MOST_SECONDS)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        if environment:
            os.environ |= {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        with open(os.devnull, "w") as nothing:
            for stream in (1, 2):
                os.dup2(nothing.fileno(), stream)
        work.run(inputs, output)
        os._exit(0)
    except (ElmoError, OSError):
        os._exit(1)  # one sentence, and the status of a command
    except SystemExit as error:
        os._exit(error.code if isinstance(error.code, int) else 2)
    except BaseException:
        os._exit(2)


def _sleep_until_over(processes: list[int], seconds: float) -> None:
    """Wait so long, or until one of the processes has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any(os.waitid(os.P_PID, p, os.WEXITED | os.WNOHANG | os.WNOWAIT) for p in processes):
            return
        time.sleep(0.002)


def _wait(processes: list[int]) -> int:
    """The first status that is not 0, or 0."""
    statuses = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    return next((status for status in statuses if status not in (0, 1)), max(statuses))


def _files(output: Path) -> dict[str, bytes]:
    """All files but logs, without what depends on the clock."""
    found = {}
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output).as_posix()
        if path.is_dir() or "/events" in name or name.endswith((".png", "meta.json")):
            continue
        found[name] = path.read_bytes()
        if name.endswith(("run.json", "state.json")):
            found[name] = _without_clock(json.loads(found[name]))
        if name.endswith(".hdf5"):
            found[name] = _vectors(path)
    return found


def _without_clock(document: dict) -> bytes:
    record = document.get("record", document)
    record.pop("seconds", None)
    for row in record["log"]:
        row.pop("tokens_per_second", None)
    document.pop("metrics", None)  # holds seconds
    return json.dumps(document).encode()


def _vectors(path: Path) -> bytes:
    import h5py

    with h5py.File(path) as file:
        return b"".join(np.asarray(file[name]).tobytes() for name in sorted(file))


@contextmanager
def _room(place: Path, how: str):
    """A folder to work in, of a disk of its own where it shall become full."""
    place.mkdir()
    mounted = (
        how == "full disk"
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(place)], capture_output=True
        ).returncode
    )
    try:
        yield place
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)
        shutil.rmtree(place)


def _fill(room: Path, left: int) -> None:
    """Take all but `left` bytes of a disk that is the room's own."""
    if not os.path.ismount(room):
        return
    free = os.statvfs(room)
    with (room / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(4096, free.f_bavail * free.f_bsize - left))

"""Kills and full disks at random moments: the last good state loads, the work continues to the same result.

Each piece of work runs in a child that is forked from a process which has imported everything and computed
nothing. It is killed, or its disk is full, at a random moment; it is then run to its end in the same place,
and compared with one that nobody disturbed: every file but logs, and no other file.
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
import traceback
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from spacy_elmo.errors import ElmoError

from .work import Work, works

MOST_SECONDS = 300


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
    """Disturb work once and let it continue. Returns what is wrong, if anything, and how far it was."""
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
        return f"it ended with {status}{_said(whole)}", "wrong"
    try:
        work.loads(output)
    except Exception as error:
        return f"what was there does not load: {error!r}", "wrong"
    (room / "ballast").unlink(missing_ok=True)
    status_again = _wait(_start(work, whole.inputs, output))
    if status_again:
        return f"it did not go on: {status_again}{_said(whole)}", "wrong"
    files = _files(output)
    if files.keys() != whole.files.keys():
        return f"other files: {sorted(files.keys() ^ whole.files.keys())}", "wrong"
    other = [name for name in files if files[name] != whole.files[name]]
    return (f"other contents: {other}" if other else None), "at its end" if status == 0 else "stopped"


def _said(whole: _Whole) -> str:
    """The end of what an error that is not documented said."""
    errors = whole.inputs.with_name("errors.txt")
    if not errors.exists():
        return ""
    text = errors.read_text()[-1500:]
    errors.unlink()
    return f": {text}"


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
    errors = inputs.with_name("errors.txt")
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
        with open(errors, "a") as file:
            traceback.print_exc(file=file)
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
        arrays = {name: np.asarray(file[name]) for name in sorted(file)}
        return b"".join(
            a.tobytes() if a.dtype != object else str(a.tolist()).encode() for a in arrays.values()
        )


@contextmanager
def _room(place: Path, how: str):
    """A folder to work in, of a disk of its own where it must become full."""
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

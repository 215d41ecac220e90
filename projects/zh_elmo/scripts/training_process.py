"""Run one training in a process of its own, with one thread and a log."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

LAST_LINES = 8


class RunError(Exception):
    """A run of a comparison failed or was refused; the message says why."""


def run_training(name: str, call: Sequence[str], log: Path) -> None:
    """Run a command and write its output to `log`. Raises a RunError if it fails.

    name: of the training, for the error, which ends with the last lines of `log`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # One thread, because concurrent trainings would compete for the cores.
    # Unbuffered, so that the log ends with the error.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as file:
        status = subprocess.run(call, stdout=file, stderr=subprocess.STDOUT, env=environment).returncode
    if status:
        lines = log.read_text(encoding="utf8", errors="replace").rstrip().split("\n")
        tail = "\n".join(lines[-LAST_LINES:])
        raise RunError(f"The training {name} failed with status {status}; its log {log} ends with:\n{tail}")

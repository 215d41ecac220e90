"""Threads at the start, many processes, long use, in short; the long form: tests/reliability/run.py."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")


def run(*arguments: str) -> str:
    """In a process of its own, which has not computed before."""
    command = [sys.executable, "-W", "ignore", str(RUN), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


def test_processes_that_begin_with_threads_and_share_outputs():
    assert "'right': 8" in run("concurrency", "--count", "8")


def test_memory_after_long_use():
    # A training grows by 1 MB in its first 1,000 steps and by nothing after them: 4,000 tell it from a leak.
    run("load", "--count", "200000", "--bundled", "0", "--steps", "4000", "--megabytes", "400")

"""Kills and full disks, in short; the long form: python tests/reliability/run.py kills."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("h5py", reason="embeds into HDF5")


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and knows Linux's signals")
def test_what_was_disturbed_goes_on():
    """In a process of its own, which has not computed before it forks."""
    command = [sys.executable, Path(__file__).with_name("run.py"), "kills", "--count", "12", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]

"""The kernel's threads under sanitizers, in the short form of sanitize.py."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("sanitize.py")


@pytest.mark.skipif(sys.platform != "linux", reason="the driver forks, and sanitizers differ elsewhere")
@pytest.mark.parametrize("kind", ["asan", "tsan"])
def test_the_threads_of_the_kernel(kind):
    done = subprocess.run(
        [sys.executable, SCRIPT, kind, "--short"], capture_output=True, text=True, timeout=600
    )
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr

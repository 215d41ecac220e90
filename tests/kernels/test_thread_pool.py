"""The kernel's threads stay and wait for work, of several callers at once, and a forked child has its own."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from modeling.helpers import make_bilm

from spacy_elmo.inference.backends import available_backends

TESTS = Path(__file__).parents[1]
SIZES = {"projection_dim": 64, "hidden_size": 128}
BATCH = [["我", "爱", "北京", "天安门"] * (1 + i % 5) for i in range(60)]  # worth several threads


@pytest.fixture(autouse=True)
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_callers_at_once_get_what_one_alone_gets():
    bilm = make_bilm(**SIZES)
    torch.set_num_threads(1)
    alone = bilm.encode(BATCH)
    torch.set_num_threads(4)
    with ThreadPoolExecutor(6) as callers:
        for found in callers.map(lambda _: bilm.encode(BATCH), range(30)):
            for one, other in zip(found, alone, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
@pytest.mark.skipif(
    available_backends() == ["torch"], reason="without the kernel they are torch's, which a child lacks"
)
def test_a_forked_child_has_threads_of_its_own():
    code = (
        "import os, signal, sys, torch\n"
        "from modeling.helpers import make_bilm\n"
        "from kernels.test_thread_pool import BATCH, SIZES\n"
        "torch.set_num_threads(4)\n"
        "bilm = make_bilm(**SIZES)\n"
        "before = bilm.encode(BATCH)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    signal.alarm(60)\n"
        "    after = bilm.encode(BATCH)\n"
        "    os._exit(0 if all((a == b).all() for a, b in zip(before, after)) else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, cwd=TESTS
    )
    assert done.returncode == 0, done.stderr

"""Files from strangers, in short; the long form: python tests/reliability/run.py fuzz."""

import sys

import pytest

pytest.importorskip("h5py", reason="makes HDF5 files")

from .fuzz import fuzz


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc")
def test_damaged_files_are_an_error_or_a_result(capsys):
    outcomes = fuzz(300, seed=0)
    assert not outcomes["WRONG"], capsys.readouterr().out
    assert outcomes["result"] > 30
    assert sum(outcomes.values()) == 300


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc")
@pytest.mark.parametrize(
    ("seed", "number"),
    [
        *[(200, 27), (200, 488), (200, 889), (206, 138), (203, 285), (400, 14102)],
        *[(600, 668), (600, 19830), (801, 1643)],
    ],
    ids=[
        "manifest",
        "negative ids",
        "null byte in a path",
        "long name",
        "index of a cache",
        "place in a zip",
        "half of a surrogate pair",
        "step of another checkpoint",
        "record of a torch file",
    ],
)
def test_inputs_that_were_wrong_once(seed, number, capsys):
    outcomes = fuzz(1, seed=seed, first=number)
    assert not outcomes["WRONG"], capsys.readouterr().out

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

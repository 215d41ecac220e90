"""The benchmark of loading measures what it runs."""

from pathlib import Path

import bench_loading
import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read as on Linux")


def test_measure():
    clock, processor, resident, peak, before = bench_loading.measure(
        "a, b = b'x' * 2**26, b'x' * 2**26; del b", None
    )
    assert clock > 0
    assert processor > 0
    assert 60 < resident < 80  # MiB: a of a and b
    assert 120 < peak < 144
    assert before > 50  # spaCy and torch


def test_loading_the_embedded_model_costs_less_than_100_mib():
    for code in bench_loading.CASES.values():
        compile(code, "a case", "exec")
    assert bench_loading.measure(bench_loading.CASES["+ first doc"], None)[3] < 100


def test_the_model_is_the_one_that_was_given(tmp_path):
    bench_loading.measure(f"assert CONFIG == {{'model': {{'path': {str(tmp_path)!r}}}}}", tmp_path)

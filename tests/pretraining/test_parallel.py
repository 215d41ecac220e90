"""Engines: results and errors of many calls, here, in other processes and on a cluster."""

import os
import signal
import sys
from pathlib import Path

import pytest

from spacy_elmo.errors import CorpusError
from spacy_elmo.pretraining.data import parallel
from spacy_elmo.pretraining.data.corpus_builder import SegmentationSettings, build_corpus
from spacy_elmo.pretraining.data.parallel import WorkerError

from .helpers import cyclic_text


def double(number: int) -> int:
    if number == 99:
        raise CorpusError("It is 99.")
    return 2 * number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_engine_raises_the_errors_of_calls_and_of_their_source(jobs):
    assert sorted(parallel.parallel_map(double, ((i,) for i in range(30)), n_process=jobs)) == list(
        range(0, 60, 2)
    )
    with pytest.raises(CorpusError, match="It is 99"):
        list(parallel.parallel_map(double, ((i,) for i in range(95, 105)), n_process=jobs))

    def source():
        yield (1,)
        raise CorpusError("No more.")

    with pytest.raises(CorpusError, match=r"No more\."):
        list(parallel.parallel_map(double, source(), n_process=jobs))


def test_a_worker_that_dies_is_one_sentence():
    with pytest.raises(WorkerError, match=r"A worker process died.*lower n_process") as caught:
        list(parallel.parallel_map(die, ((i,) for i in range(4)), n_process=2))
    assert "\n" not in str(caught.value)


def test_engines_that_are_not_there(monkeypatch):
    with pytest.raises(WorkerError, match='backend "spark" is not known: use loky, dask, ray'):
        list(parallel.parallel_map(double, [(1,)], backend="spark"))
    for name, module in (("dask", "dask.distributed"), ("ray", "ray.util.joblib")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(WorkerError, match=f'"{name}" is not installed: pip install'):
            list(parallel.parallel_map(double, [(1,)], backend=name))


@pytest.fixture
def dask(monkeypatch):
    distributed = pytest.importorskip("dask.distributed", reason="dask[distributed] is not installed")
    here = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(**here) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        yield


@pytest.fixture
def ray():
    ray = pytest.importorskip("ray", reason="ray is not installed")
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_cluster_gives_the_same_bytes(backend, request, tmp_path):
    request.getfixturevalue(backend)
    (tmp_path / "text.txt").write_text(cyclic_text(400), encoding="utf8")

    def build(name: str, **options) -> dict[str, bytes]:
        build_corpus([tmp_path / "text.txt"], tmp_path / name, SegmentationSettings(), block=500, **options)
        return {path.name: path.read_bytes() for path in Path(tmp_path / name).iterdir()}

    here = build("here")
    assert len(here) > 8
    assert build("there", n_process=2, backend=backend) == here

"""Engines: results and errors of many calls, here and in other processes."""

import os
import signal
import sys

import pytest

from spacy_elmo.pretraining import engine
from spacy_elmo.pretraining.engine import EngineError
from spacy_elmo.pretraining.reading import CorpusError


def double(number: int) -> int:
    if number == 99:
        raise CorpusError("It is 99.")
    return 2 * number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_engine_raises_the_errors_of_calls_and_of_their_source(jobs):
    assert sorted(engine.run(double, ((i,) for i in range(30)), jobs=jobs)) == list(range(0, 60, 2))
    with pytest.raises(CorpusError, match="It is 99"):
        list(engine.run(double, ((i,) for i in range(95, 105)), jobs=jobs))

    def source():
        yield (1,)
        raise CorpusError("No more.")

    with pytest.raises(CorpusError, match=r"No more\."):
        list(engine.run(double, source(), jobs=jobs))


def test_a_worker_that_dies_is_one_sentence():
    with pytest.raises(EngineError, match=r"A worker died.*use fewer jobs") as caught:
        list(engine.run(die, ((i,) for i in range(4)), jobs=2))
    assert "\n" not in str(caught.value)


def test_engines_that_are_not_there(monkeypatch):
    with pytest.raises(EngineError, match='backend "spark" is not known: use loky, dask, ray'):
        list(engine.run(double, [(1,)], backend="spark"))
    for name, module in (("dask", "dask.distributed"), ("ray", "ray.util.joblib")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(EngineError, match=f'"{name}" is not installed: pip install'):
            list(engine.run(double, [(1,)], backend=name))

"""Processes that begin with threads, many processes, two on one output, forks after use.

A process is forked from one that has imported everything and computed nothing, so that a thousand of them
take minutes; what is loaded, built and computed first is loaded, built and computed first in each.
"""

import faulthandler
import multiprocessing
import os
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import spacy
import torch
from pipeline.helpers import make_bilm

from spacy_elmo.errors import ElmoError
from spacy_elmo.inference import loading

THREADS = 8
SECONDS = 120  # after which a process counts as hung
TEXTS = [text * (1 + i % 3) for i in range(4) for text in ("我去银行取钱。", "他打球，我打字。北京 ok 12")]


def begin(count: int, *, model: Path | None = None) -> Counter:
    """Start `count` processes whose threads begin together with a fresh pipeline; count how they end.

    model: a model folder; None: the bundled model.
    """
    torch.set_num_threads(1)
    expected = _in_child_with_result(model)
    ends: Counter = Counter()
    for _ in range(count):
        ends[_ended(lambda: _threads_begin(model, expected))] += 1
    return ends


def _in_child_with_result(model: Path | None) -> list[np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "expected.npz"

        def compute() -> None:
            np.savez(path, *_vectors(_pipeline(model), TEXTS))

        assert _ended(compute) == "right"
        with np.load(path) as stored:
            return [stored[name] for name in stored.files]


def _pipeline(model: Path | None) -> spacy.language.Language:
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": None if model is None else str(model)}})
    return nlp


def _vectors(nlp: spacy.language.Language, texts: list[str]) -> list[np.ndarray]:
    return [array for text in texts for array in _of(nlp(text))]


def _of(doc: spacy.tokens.Doc) -> list[np.ndarray]:
    return [doc._.elmo.layers, doc._.elmo.static_vectors]


def _threads_begin(model: Path | None, expected: list[np.ndarray]) -> None:
    nlp, gate, right = _pipeline(model), threading.Barrier(THREADS), []

    def work(i: int) -> None:
        gate.wait()
        np.ones((64, 64)) @ np.ones((64, 64))
        found = _of(nlp(TEXTS[i]))
        right.append(all(map(np.array_equal, found, expected[2 * i : 2 * i + 2])))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == THREADS
    assert all(right)


def _ended(work: Callable[[], None]) -> str:
    """How a forked child that does this work ends: "right", "wrong", "hung" or the name of its signal."""
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        faulthandler.dump_traceback_later(SECONDS - 5)  # shows where each thread of a hung process waits
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status >= 0:
        return "wrong" if status else "right"
    return "hung" if -status == signal.SIGALRM else signal.Signals(-status).name


def pipe_with_processes(method: str, *, docs: int = 400) -> bool:
    """Whether nlp.pipe(n_process=4) gives what one process gives, after the pipeline was used."""
    code_path = os.environ.get("PYTHONPATH", "")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        make_bilm("char").save(model)
        nlp = _pipeline(model)
        texts = (TEXTS * (docs // len(TEXTS) + 1))[:docs]
        expected = [_of(doc) for doc in nlp.pipe(texts)]
        before = multiprocessing.get_start_method(allow_none=True)
        os.environ["PYTHONPATH"] = code_path
        multiprocessing.set_start_method(method, force=True)
        try:
            found = [_of(doc) for doc in nlp.pipe(texts, n_process=4, batch_size=20)]
        finally:
            multiprocessing.set_start_method(before, force=True)
    same = (all(map(np.array_equal, a, b)) for a, b in zip(found, expected, strict=True))
    return all(same)


def two_on_one_output(count: int) -> Counter:
    """Two processes save a model each to one place, `count` times: one whole model stays, nobody is torn."""
    ends: Counter = Counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        bilms = [make_bilm("char", seed=seed) for seed in (1, 2)]
        data = [loading.to_bytes(bilm) for bilm in bilms]
        for _ in range(count):
            statuses = _both(lambda i: bilms[i].save(place / "m"))
            left = loading.to_bytes(loading.load(place / "m"))
            good = left in data and sorted(p.name for p in place.iterdir()) == ["m"]
            good = good and set(statuses) <= {0, 3} and 0 in statuses
            ends["right" if good else "wrong"] += 1
            ends["one was refused"] += 3 in statuses
    return ends


def _both(work: Callable[[int], object]) -> list[int]:
    """The statuses of two processes: 0, or 3 for an ElmoError."""
    children = []
    for i in range(2):
        child = os.fork()
        if not child:
            try:
                work(i)
                os._exit(0)
            except ElmoError:
                os._exit(3)
            except BaseException:
                os._exit(1)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

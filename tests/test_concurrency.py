"""Threads that begin together, forks during calls, daemon threads at exit, training next to prediction.

Each situation has a process of its own, whose end is bounded: a crash or a hang there fails one test here.
"""

import copy
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from thread_helpers import switch_often

from spacy_elmo.locks import BuildOnce, ForkSafeLock
from spacy_elmo.pipeline.layers.activation_cache import ActivationCache, sentence_key
from spacy_elmo.pipeline.layers.disk_store import DiskStore

TESTS = Path(__file__).parent
forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")

PIPELINE = """
import os, signal, sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np, spacy, torch
torch.set_num_threads(2)
sys.setswitchinterval(1e-4)
TEXTS = ["他打球，我打字。" * (1 + i % 5) + "ＡＢ 3" * (i % 3) for i in range(48)]

def fresh():
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo")
    return nlp

def vectors(doc):
    return [doc._.elmo.layers, doc._.elmo.static_vectors, doc.tensor]

def same(found, expected):
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
"""


def run(code: str, *, timeout: float = 240) -> None:
    """Run a process; it must end well in time."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PIPELINE + code],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=TESTS,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_threads_begin_together_with_a_fresh_pipeline():
    run("""
expected = [vectors(doc) for doc in fresh().pipe(TEXTS)]
for _ in range(3):
    nlp, gate = fresh(), threading.Barrier(8)
    def work(first):
        gate.wait()
        return [vectors(nlp(text)) for text in TEXTS[first::8]]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert all(same(each, expected[k + 8 * i]) for k, own in enumerate(found) for i, each in enumerate(own))
""")


@forking
def test_children_are_forked_while_threads_compute():
    run("""
nlp = fresh()
expected = vectors(nlp(TEXTS[7]))
stop, begun = threading.Event(), threading.Barrier(3)
def work():
    nlp(TEXTS[3])
    begun.wait()
    while not stop.is_set():
        nlp(TEXTS[3])
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
begun.wait()
failed = []
for i in range(25):
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends a child that hangs
        os._exit(0 if same(vectors(nlp(TEXTS[7])), expected) else 3)
    failed += [code for code in [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] if code]
stop.set()
for thread in threads:
    thread.join()
assert not failed, failed
""")


@pytest.mark.parametrize("precision", ["f32", "auto"])
def test_daemon_threads_compute_while_the_process_ends(precision):
    run(f"""
from spacy_elmo.inference.loading import load
bilm, begun = load(), threading.Barrier(3)
text = [list("他打球我打字这是一个很长的句子" * 6)] * 100
def work():
    bilm.encode(text[:2], precision="{precision}")
    begun.wait()
    while True:
        bilm.encode(text, precision="{precision}")
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
""")


def test_a_training_goes_on_next_to_prediction():
    run("""
from spacy.training import Example
nlp = fresh()
config = {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": {
    "@architectures": "spacy-elmo.ElmoListener.v1", "upstream": "*", "mix_dropout": 0.5}}}
nlp.add_pipe("tagger", config=config)
def examples():
    return [Example.from_dict(nlp.make_doc(t), {"tags": ["n"] * len(nlp.make_doc(t))}) for t in TEXTS]
optimizer = nlp.initialize(examples)
expected = [vectors(doc) for doc in nlp.pipe(TEXTS)]
stop, errors = threading.Event(), []
def predict():
    try:
        while not stop.is_set():
            found = [vectors(doc) for doc in nlp.pipe(TEXTS[:16])]
            assert all(same(a, b) for a, b in zip(found, expected))
    except BaseException as error:
        errors.append(error)
thread = threading.Thread(target=predict)
thread.start()
for _ in range(6):
    nlp.update(examples(), sgd=optimizer, annotates=["elmo"])
stop.set()
thread.join()
assert not errors, errors
assert all(same(vectors(doc), each) for doc, each in zip(nlp.pipe(TEXTS), expected))
""")


@pytest.mark.parametrize("on_disk", [True, False])
def test_threads_share_a_cache(tmp_path, on_disk):
    def encode(sentences):
        return [np.full((3, len(s), 64), int(s[0]) % 2000, dtype=np.float32) for s in sentences]

    def sentence(i):
        return [str(i), "a", "b", "c"]

    def work(first):
        for i in range(first, first + 600):
            cache.encode(encode, [sentence(i)])

    store = DiskStore(tmp_path / "s", (3, 64), half=True) if on_disk else None
    cache = ActivationCache(2**30, half=True, store=store)
    with switch_often():
        threads = [threading.Thread(target=work, args=(300 * k,)) for k in range(4)]  # each half is another's
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    shelves = [cache.store]
    if on_disk:
        shelves.append(DiskStore(tmp_path / "s", (3, 64), half=True))
    for each in shelves:
        assert len(each) == 1500
        assert each.used == 1500 * 3 * 4 * 64 * 2
        for i in range(1500):
            kept = each.get(sentence_key(sentence(i)))
            assert kept is not None
            np.testing.assert_array_equal(kept, encode([sentence(i)])[0])


def test_what_is_built_once_is_built_once():
    built = []
    gate = threading.Barrier(8)

    @BuildOnce
    def build() -> object:
        for _ in range(2_000_000):  # long enough for the others to come in between
            pass
        built.append(object())
        return built[-1]

    def work():
        gate.wait()
        assert build() is built[0]

    with switch_often():
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(built) == 1
    build.cache_clear()
    assert build() is not built[0]


@forking
def test_a_child_finds_a_lock_free():
    run("""
from spacy_elmo.locks import ForkSafeLock
lock, held, stop = ForkSafeLock(), threading.Event(), threading.Event()
def hold():
    with lock:
        held.set()
        stop.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if not child:
    signal.alarm(60)
    with lock:
        os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
stop.set()
thread.join()
assert code == 0, code
""")


def test_a_copy_of_a_lock_is_another():
    lock = ForkSafeLock()
    with lock, copy.deepcopy(lock):
        pass

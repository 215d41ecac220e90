"""Vectors on disk: found by other processes too, and computed again where files are damaged or full."""

import gc
import multiprocessing
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from thread_helpers import switch_often

from spacy_elmo.pipeline.layers.activation_cache import ActivationCache, sentence_key
from spacy_elmo.pipeline.layers.disk_store import DiskStore

from .helpers import blank, examples, make_bilm, tagger_config, train

SHAPE = (3, 4)


def layers(sentence) -> np.ndarray:
    rng = np.random.default_rng(sum(map(ord, sentence)))
    return rng.normal(size=(3, len(sentence), 4)).astype(np.float16)


def filled(folder, sentences) -> DiskStore:
    store = DiskStore(folder, SHAPE, half=True)
    for sentence in sentences:
        store.put(sentence_key(sentence), layers(sentence))
    return store


def holds(store, sentence) -> bool:
    found = store.get(sentence_key(sentence))
    if found is not None:
        np.testing.assert_array_equal(found, layers(sentence))
    return found is not None


@given(st.lists(st.text("打球字我他", max_size=5), max_size=10, unique=True), st.integers(0, 10))
def test_found_by_this_shelf_and_by_the_next(tmp_path_factory, sentences, cut):
    folder = tmp_path_factory.mktemp("cache")
    first = filled(folder, sentences[:cut])
    second = filled(folder, sentences[cut:])
    third = DiskStore(folder, SHAPE, half=True)
    assert all(holds(first, s) for s in sentences[:cut])
    assert all(holds(second, s) for s in sentences)
    assert all(holds(third, s) for s in sentences)
    assert len(third) == len(sentences)
    assert third.used == sum(layers(s).nbytes for s in sentences)


def test_side_by_side_each_writes_its_own(tmp_path):
    a, b = DiskStore(tmp_path, SHAPE, half=True), DiskStore(tmp_path, SHAPE, half=True)
    for sentence in ("我打球", "他打字"):
        a.put(sentence_key(sentence), layers(sentence))
        b.put(sentence_key(sentence), layers(sentence))
    assert holds(a, "他打字")
    assert holds(b, "我打球")
    assert len(DiskStore(tmp_path, SHAPE, half=True)) == 2


@pytest.mark.parametrize("suffix", ["layers", "index"])
@pytest.mark.parametrize("cut", [1, 20])
def test_a_file_that_was_cut_off_loses_its_end_only(tmp_path, suffix, cut):
    filled(tmp_path, ["我打球", "他打字"])
    (path,) = tmp_path.glob(f"*.{suffix}")
    path.write_bytes(path.read_bytes()[:-cut])
    store = DiskStore(tmp_path, SHAPE, half=True)
    assert holds(store, "我打球")
    assert not holds(store, "他打字")


def test_a_changed_byte_is_seen(tmp_path):
    filled(tmp_path, ["我打球", "他打字"])
    (path,) = tmp_path.glob("*.layers")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    store = DiskStore(tmp_path, SHAPE, half=True)
    assert holds(store, "我打球")
    assert not holds(store, "他打字")
    assert not holds(store, "他打字")


def test_vectors_without_their_file_are_computed_anew(tmp_path):
    filled(tmp_path, ["我打球"])
    (path,) = tmp_path.glob("*.layers")
    path.unlink()
    cache = ActivationCache(2**20, half=True, store=DiskStore(tmp_path, SHAPE, half=True))
    found = cache.encode(lambda batch: [layers(s).astype("f") for s in batch], ["我打球"])[0]
    np.testing.assert_array_equal(found, layers("我打球"))


def test_a_folder_that_cannot_be_written_warns_once_and_goes_on(tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("a file, no folder")
    store = DiskStore(taken, SHAPE, half=True)
    with pytest.warns(UserWarning, match="cannot be written"):
        store.put(sentence_key("我打球"), layers("我打球"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.put(sentence_key("他打字"), layers("他打字"))
    assert not holds(store, "我打球")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_writes_nothing_into_its_parents_files(tmp_path):
    store = filled(tmp_path, ["我打球"])
    child = multiprocessing.get_context("fork").Process(
        target=store.put, args=(sentence_key("他打字"), layers("他打字"))
    )
    child.start()
    child.join()
    assert child.exitcode == 0
    store.put(sentence_key("他打"), layers("他打"))
    fresh = DiskStore(tmp_path, SHAPE, half=True)
    assert holds(fresh, "他打")
    assert not holds(fresh, "他打字")


def test_closed_files(tmp_path):
    with filled(tmp_path, ["我打球"]) as store:
        assert holds(store, "我打球")
    store.close()  # a second time: nothing to do
    assert store.get(sentence_key("我打球")) is None
    store.put(sentence_key("他打字"), layers("他打字"))
    fresh = DiskStore(tmp_path, SHAPE, half=True)
    assert holds(fresh, "我打球")
    assert not holds(fresh, "他打字")


@pytest.mark.parametrize("end", ["initialize", "prediction", "other weights", "error", "deletion"])
def test_no_file_stays_open_after_a_training(char_model, tmp_path, monkeypatch, end):
    monkeypatch.setattr("spacy_elmo.pipeline.component.PATIENCE", 20)
    with warnings.catch_warnings(record=True, action="always") as caught:
        nlp = blank(char_model, cache_dir=str(tmp_path))
        nlp.add_pipe("tagger", config=tagger_config())
        train(nlp, steps=2)
        assert open_files(tmp_path)
        if end == "initialize":
            nlp.initialize(lambda: examples(nlp))
        elif end == "prediction":
            nlp("我去银行取钱。" * 10)
        elif end == "other weights":
            nlp.get_pipe("elmo").model.shims[0].bilm = make_bilm("char", seed=7)
        elif end == "error":
            with pytest.raises(TypeError):
                nlp.update([None])
            nlp = None
        else:
            nlp = None
        gc.collect()
        assert not open_files(tmp_path)
    assert not [w for w in caught if issubclass(w.category, ResourceWarning)]


def open_files(folder) -> list[str]:
    """Files of a folder that this process has open."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    targets = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            targets.append(os.readlink(f"/proc/self/fd/{number}"))
    return [target for target in targets if target.startswith(str(folder))]


def test_folders_are_those_of_weights_and_precision(char_model, wide_model, tmp_path):
    def fingerprint(path, precision="f32"):
        nlp = blank(path)
        shim = nlp.get_pipe("elmo").model.shims[0]
        shim.precision = precision
        return shim.fingerprint()

    assert fingerprint(char_model) == fingerprint(char_model)
    make_bilm("char", seed=7).save(tmp_path / "other")
    names = [fingerprint(char_model), fingerprint(char_model, "bf16"), fingerprint(wide_model)]
    assert len({*names, fingerprint(tmp_path / "other")}) == 4


@pytest.mark.parametrize("changed", ["torch", "kernel", "package"])
def test_folders_are_those_of_the_code_that_computes(char_model, tmp_path, monkeypatch, changed):
    def folders() -> set[str]:
        nlp = blank(char_model, cache_dir=str(tmp_path / "cache"))
        nlp.add_pipe("tagger", config=tagger_config())
        train(nlp, steps=1)
        return {folder.name for folder in (tmp_path / "cache").iterdir()}

    before = folders()
    assert folders() == before
    if changed == "torch":
        monkeypatch.setattr(torch, "__version__", "2.99.0")
    elif changed == "package":
        monkeypatch.setattr("spacy_elmo.pipeline.layers.bilm.__version__", "99.0")
    else:
        (tmp_path / "_native.so").write_bytes(b"another build")
        monkeypatch.setattr("spacy_elmo.kernels.binding.FOLDER", tmp_path)
    assert len(folders() - before) == 1


def test_threads_that_read_the_same_damaged_arrays(tmp_path):
    keys = [f"{i}" + "字" * 600 for i in range(100)]  # long: their checksum lets other threads run
    filled(tmp_path, keys)
    for file in tmp_path.glob("*.layers"):
        file.write_bytes(bytes(file.stat().st_size))
    store = DiskStore(tmp_path, SHAPE, half=True)

    together = threading.Barrier(4, timeout=20)

    def read(_) -> list[bool]:
        return [together.wait() >= 0 and holds(store, key) for key in keys]

    with switch_often(1e-6), ThreadPoolExecutor(4) as pool:
        assert not any(map(any, pool.map(read, range(4))))
    assert len(store) == 0

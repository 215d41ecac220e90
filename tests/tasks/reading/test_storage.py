"""Saved, copied, in processes, replaced listeners: the same answers, and nothing pickled."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import spacy
from safetensors import SafetensorError
from safetensors.numpy import save

from spacy_elmo.errors import ElmoError
from spacy_elmo.tasks.reading.annotations import get_answers, set_questions
from spacy_elmo.tasks.reading.shim import METADATA_KEY

from .helpers import PASSAGES, WITH_ELMO, WITH_ELMO_TWICE, all_answers, blank, train


def assert_same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert [(i.text, i.start, i.end) for i in x] == [(i.text, i.start, i.end) for i in y]
        assert [i.score for i in x] == pytest.approx([i.score for i in y], abs=1e-5)
        assert x.no_answer == pytest.approx(y.no_answer, abs=1e-5)


@pytest.mark.parametrize("pipeline", ["trained", "trained_elmo"])
def test_disk_and_bytes(pipeline, request, tmp_path):
    nlp = request.getfixturevalue(pipeline)
    nlp.to_disk(tmp_path / "saved")
    assert_same(all_answers(spacy.load(tmp_path / "saved")), all_answers(nlp))
    from_bytes = spacy.blank("zh").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert_same(all_answers(from_bytes), all_answers(nlp))


def test_calibration_is_saved(trained, tmp_path):
    reader = trained.get_pipe("reader")
    before = dict(reader.cfg)
    try:
        reader.cfg.update(temperature=2.0, no_answer_bias=-1.0, threshold=0.25)
        trained.to_disk(tmp_path / "saved")
        again = spacy.load(tmp_path / "saved").get_pipe("reader")
        assert again.calibration == reader.calibration
        assert again.threshold == 0.25
    finally:
        reader.cfg.update(before)


def test_nothing_is_pickled(trained):
    weights = trained.get_pipe("reader").model.shims[0].to_bytes()
    assert b"__metadata__" in weights[:200]
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(weights)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-10], lambda b: b"\x80\x04N.", lambda b: b[:20] + b"x" + b[21:]]
)
def test_damaged_weights_are_told(trained, damage):
    shim = blank().get_pipe("reader").model.shims[0]
    with pytest.raises(ElmoError, match="damaged"):
        shim.from_bytes(damage(trained.get_pipe("reader").model.shims[0].to_bytes()))
    assert issubclass(SafetensorError, Exception)


def test_settings_that_are_nested_too_deeply_are_told():
    hostile = save({"x": np.zeros(1, dtype="f")}, {METADATA_KEY: "[" * 100_000})
    with pytest.raises(ElmoError, match="damaged"):
        blank().get_pipe("reader").model.shims[0].from_bytes(hostile)


def test_pickle_of_the_pipeline(trained_elmo):
    assert_same(all_answers(pickle.loads(pickle.dumps(trained_elmo))), all_answers(trained_elmo))


@pytest.mark.parametrize("pipeline", ["trained", "trained_elmo"])
def test_two_processes(pipeline, request):
    nlp = request.getfixturevalue(pipeline)
    docs = [nlp.make_doc(text) for text, _ in PASSAGES]
    for doc, (_, asked) in zip(docs, PASSAGES, strict=True):
        set_questions(doc, [question for question, _ in asked])
    texts = [doc.copy() for doc in docs]
    one = [get_answers(doc) for doc in nlp.pipe(docs)]
    two = [get_answers(doc) for doc in nlp.pipe(texts, n_process=2, batch_size=3)]
    for a, b in zip(one, two, strict=True):
        assert_same(a, b)


@pytest.mark.parametrize(
    ("model", "paths"),
    [(WITH_ELMO, ["model.tok2vec"]), (WITH_ELMO_TWICE, ["model.tok2vec.tok2vec", "model.tok2vec.elmo"])],
    ids=["input", "both ends"],
)
def test_replaced_listeners(bilm, tmp_path, model, paths):
    nlp = blank(model, bilm=bilm)
    train(nlp, 2)
    nlp.get_pipe("reader").threshold = 1.0
    before = all_answers(nlp)
    nlp.replace_listeners("elmo", "reader", paths)
    nlp.remove_pipe("elmo")
    assert_same(all_answers(nlp), before)
    layers = [node for node in nlp.get_pipe("reader").model.walk() if node.name == "elmo-bilm"]
    assert len(layers) == 1, "both ends share one biLM"
    nlp.to_disk(tmp_path / "alone")
    assert_same(all_answers(spacy.load(tmp_path / "alone")), before)


def test_packaged(trained_elmo, tmp_path):
    trained_elmo.to_disk(tmp_path / "saved")
    (tmp_path / "package").mkdir()
    call = [sys.executable, "-m", "spacy", "package", str(tmp_path / "saved"), str(tmp_path / "package")]
    subprocess.run([*call, "--build", "none", "--name", "reading"], check=True, capture_output=True)
    folder = next((tmp_path / "package").rglob("config.cfg")).parent
    assert_same(all_answers(spacy.load(folder)), all_answers(trained_elmo))

"""Products of the tasks that listen: the same as thinc's, by another library."""

import warnings

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from thinc.api import NumpyOps

from spacy_elmo.pipeline.onednn_ops import OneDnnOps

from .helpers import LISTENER_PATH, blank, parser_config, tagger_config, train

TEXT = "我去银行取钱。"


def matrix(rng, rows: int, columns: int, transposed: bool) -> np.ndarray:
    shape = (columns, rows) if transposed else (rows, columns)
    return rng.normal(size=shape).astype("f")


@given(
    st.sampled_from([0, 1, 3, 127, 128, 300]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_products_are_those_of_thinc(m, k, n, trans1, trans2, into):
    rng = np.random.default_rng(0)
    x, y = matrix(rng, m, k, trans1), matrix(rng, k, n, trans2)
    out = np.empty((m, n), dtype="f") if into else None
    found = OneDnnOps().gemm(x, y, out=out, trans1=trans1, trans2=trans2)
    assert found.shape == (m, n)
    assert found.dtype == np.float32
    assert out is None or found is out
    np.testing.assert_allclose(found, NumpyOps().gemm(x, y, trans1=trans1, trans2=trans2), atol=1e-4)


def test_views_are_multiplied_as_they_are_seen():
    x, y = np.arange(48, dtype="f").reshape(6, 8)[::2, ::-1], np.arange(64, dtype="f").reshape(8, 8).T[:, 2:]
    np.testing.assert_array_equal(OneDnnOps().gemm(x, y), x @ y)


def test_doubles_are_refused_as_by_thinc():
    with pytest.raises(ValueError, match="float32"):
        OneDnnOps().gemm(np.ones((2, 2)), np.ones((2, 2), dtype="f"))


def test_consumers_take_them_and_others_do_not(char_model, tmp_path):
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config=tagger_config())
    nlp.add_pipe("ner", config=parser_config("ner"))
    nlp.add_pipe("morphologizer")
    train(nlp, steps=3)

    def check(nlp):
        for name in ("tagger", "ner"):
            assert {type(node.ops) for node in nlp.get_pipe(name).model.walk()} == {OneDnnOps}
        assert {type(node.ops) for node in nlp.get_pipe("morphologizer").model.walk()} == {NumpyOps}

    check(nlp)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    check(loaded)
    doc, other = nlp(TEXT), loaded(TEXT)
    assert [token.tag_ for token in doc] == [token.tag_ for token in other]


def test_a_consumer_that_stands_alone_keeps_them_in_its_joint(char_model, tmp_path):
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=1)
    nlp.replace_listeners("elmo", "tagger", [LISTENER_PATH])
    nlp.remove_pipe("elmo")
    nlp.to_disk(tmp_path)
    model = spacy.load(tmp_path).get_pipe("tagger").model
    (joint,) = (node for node in model.walk() if node.name == "elmo-with-minibatches")
    assert {type(node.ops) for node in joint.walk()} == {OneDnnOps}


def test_predictions_are_those_of_thincs_products(char_model):
    nlp = blank(char_model)
    tagger = nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=3)
    doc = nlp(TEXT * 30)
    scores = tagger.model.predict([doc])[0]
    for node in tagger.model.walk():
        node.ops = NumpyOps()
    np.testing.assert_allclose(tagger.model.predict([doc])[0], scores, atol=1e-5)


def test_a_read_only_array_is_multiplied_without_a_warning():
    x, y = np.ones((3, 4), dtype=np.float32), np.ones((4, 2), dtype=np.float32)
    x.flags.writeable = y.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(OneDnnOps().gemm(x, y), x @ y)

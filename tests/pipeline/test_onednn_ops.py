"""The thinc backend "onednn": products are those of thinc, and only what listens gets it."""

import warnings

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from thinc.api import Model, NumpyOps, get_current_ops, get_ops, use_ops

from spacy_elmo.kernels import packed_linear
from spacy_elmo.pipeline.onednn_ops import OneDnnOps, use_onednn

from .helpers import blank, parser_config, tagger_config, train

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
    with pytest.raises(ValueError, match=r"float32|Buffer dtype mismatch"):
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


def test_it_is_registered_and_not_the_default():
    assert type(get_ops("onednn")) is OneDnnOps
    assert type(get_ops("cpu")) is NumpyOps
    assert type(get_ops("numpy")) is NumpyOps
    with use_ops("onednn"):
        assert type(Model("any", lambda model, X, is_train: X).ops) is OneDnnOps
    assert type(get_current_ops()) is NumpyOps


def test_backends_of_a_gpu_and_of_plugins_stay():
    class Plugin(NumpyOps):
        name = "plugin"

    own = Plugin()
    inner = Model("inner", lambda model, X, is_train: X)
    model = Model("outer", lambda model, X, is_train: X, layers=[inner], ops=own)
    assert use_onednn(model) == 1
    assert model.ops is own
    assert type(inner.ops) is OneDnnOps
    assert use_onednn(model) == 0


def test_one_line_in_the_log_for_a_component(char_model, caplog):
    with caplog.at_level("INFO", logger="spacy"):
        nlp = blank(char_model)
        nlp.add_pipe("tagger", config=tagger_config())
        train(nlp, steps=1)
    (line,) = (record.message for record in caplog.records if "oneDNN" in record.message)
    assert '"elmo"' in line
    assert '"tagger"' in line
    assert "accelerate_listeners = false" in line


def test_without_onednn_torch_multiplies(monkeypatch):
    monkeypatch.setattr(packed_linear, "_has_onednn_linear", lambda: False)
    x, y = np.ones((3, 4), dtype=np.float32), np.ones((4, 2), dtype=np.float32)
    np.testing.assert_array_equal(OneDnnOps().gemm(x, y), x @ y)


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

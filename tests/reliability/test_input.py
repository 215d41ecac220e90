"""Any text, and weights that are not numbers."""

import unicodedata
import warnings

import numpy as np
import pytest
import spacy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline.helpers import make_bilm
from spacy.tokens import Doc

from spacy_elmo.errors import ModelFolderError
from spacy_elmo.inference import loading
from spacy_elmo.modeling import serialization

KINDS = {
    "combining": "e\u0301\u0300" * 300,
    "only combining": "\u0301" * 500,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈👍🏽" * 50,
    "right to left": "שלום עולם مرحبا \u202eabc\u202c",
    "control": "".join(map(chr, range(32))) + "\x7f\x85\u2028\u2029\ufeff\u200b",
    "full width": "ＡＢＣ１２３，。！？　" * 20,
    "beyond the plane": "𠀀𪚥𝔘𐍈" * 50,
    "not assigned": "\U000e0fff\ufffe\uffff\U0010ffff",
    "no sentence end": "长" * 5000,
    "only ends": "。" * 3000,
    "white space": " \n\t\u3000" * 500,
    "nothing": "",
}


@pytest.fixture(scope="module")
def nlp(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "char"
    make_bilm("char").save(path)
    nlp = spacy.blank("zh")
    nlp.max_length = 10**7
    nlp.add_pipe("elmo", config={"model": {"path": str(path)}})
    return nlp


def check(doc: Doc) -> None:
    layers = doc._.elmo.layers
    assert layers.shape == (3, len(doc), 16)
    assert np.isfinite(layers).all()
    for token, vector in zip(doc, np.moveaxis(layers, 1, 0), strict=True):
        assert token.is_space or np.abs(vector).sum() > 0 or not token.text.strip()


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_text(nlp, kind):
    check(nlp(KINDS[kind]))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_text(nlp, text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unknown characters
        check(nlp(text))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.text(st.characters(), max_size=20), max_size=20), max_size=5))
def test_any_units_lone_surrogates_included(sentences):
    for bilm in MODELS:
        for sentence, layers in zip(sentences, bilm.encode(sentences), strict=True):
            assert layers.shape == (3, len(sentence), 16)
            assert np.isfinite(layers).all()


MODELS = [make_bilm("char"), make_bilm("word")]


def test_a_megabyte_without_a_sentence_end(nlp):
    text = "的" * (2**20 // 3)
    doc = nlp(text)
    assert len(text.encode()) >= 2**20 - 3
    assert doc._.elmo.layers.shape == (3, len(doc), 16)
    assert np.isfinite(doc._.elmo.layers).all()


def test_every_kind_of_character_is_in_the_texts():
    """The properties above draw from all categories but surrogates; this list is for those who read it."""
    found = {unicodedata.category(c)[0] for text in KINDS.values() for c in text}
    assert found >= set("LMNPSZC")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, number):
    bilm = make_bilm("char")
    for name, tensor in bilm.state_dict().items():
        changed = {**bilm.state_dict(), name: tensor.clone()}
        changed[name].view(-1)[-1] = number
        serialization.write(tmp_path / "m", bilm.config, bilm.vocab, changed)
        with pytest.raises(ModelFolderError, match=rf"NaN or infinit.* {name}\b"):
            loading.load(tmp_path / "m")

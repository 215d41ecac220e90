"""Traditional characters with a model of simplified text, and text that a model does not know."""

import warnings

import numpy as np
import pytest

from spacy_elmo.inference import loading
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.traditional import simplified_forms
from spacy_elmo.modeling.vocab import Vocab

from .helpers import make_bilm

SIMPLIFIED, TRADITIONAL = "我国开发者举办读书会", "我國開發者舉辦讀書會"


def test_the_table():
    forms = simplified_forms()
    assert len(forms) > 3000
    assert forms["國"] == "国"
    assert not forms.keys() & set("我的一是")
    assert all(len(old) == len(new) == 1 and old != new for old, new in forms.items())


def test_the_bundled_model_reads_traditional_characters():
    bilm = loading.load(loading.resolve_model_path("zh_elmo_sm"))
    for a, b in zip(bilm.encode([list(SIMPLIFIED)]), bilm.encode([list(TRADITIONAL)]), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(bilm.static_vectors_of(["国家", "读书"]), bilm.static_vectors_of(["國家", "讀書"]))
    assert "國" in bilm.vocab
    assert len(bilm.vocab) == 4 + len(bilm.vocab.units)


def test_a_traditional_character_of_the_vocabulary_stays_itself():
    vocab = Vocab(["国", "开", "開"], simplified=True)
    assert vocab.id("國") == vocab.id("国")
    assert vocab.id("開") != vocab.id("开")
    assert Vocab(["国"]).id("國") == 1


def test_unknown_units_are_told_once():
    bilm: BiLM = make_bilm(units="char")
    known = [next(iter(bilm.vocab.units))] * 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bilm.encode([known, ["囧"] * 4])
        with pytest.raises(UserWarning, match="10 of the 60 units"):
            bilm.encode([["囧"] * 6])
        bilm.encode([["囧"] * 100])

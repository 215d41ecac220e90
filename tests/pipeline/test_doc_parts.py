"""Vectors of parts of Docs, and of joined Docs."""

import gc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from spacy_elmo.errors import ElmoError

from .helpers import assert_tensor_is_mean, blank

TEXT = "我去银行取钱。自行车很快。我去银行取钱。"


@pytest.fixture(scope="module")
def nlp(static_model):
    """elmo with static vectors, and sentences."""
    nlp = blank(static_model)
    nlp.add_pipe("sentencizer", config={"punct_chars": ["。"]})
    return nlp


@pytest.mark.parametrize("copy_user_data", [False, True])
def test_as_doc_has_its_part(nlp, copy_user_data):
    doc = nlp(TEXT)
    expected = [doc._.elmo.layers[:, s.start : s.end].copy() for s in doc.sents]
    doc._.elmo = doc._.elmo.layers + np.arange(len(doc), dtype="f")[:, None]  # the first and the last differ
    expected = [doc._.elmo.layers[:, s.start : s.end].copy() for s in doc.sents]
    for sentence, layers in zip(doc.sents, expected, strict=True):
        part = sentence.as_doc(copy_user_data=copy_user_data)
        np.testing.assert_array_equal(part._.elmo.layers, layers)
        assert part._.elmo.layers.base is None
        np.testing.assert_array_equal(part[2:4].as_doc()._.elmo.layers, layers[:, 2:4])


def test_as_doc_with_user_data_outlives_its_doc(nlp):
    doc = nlp(TEXT)
    expected = doc._.elmo.layers[:, 7:13].copy()
    part = doc[7:13].as_doc(copy_user_data=True)
    other = doc[7:13].as_doc()
    del doc
    gc.collect()
    np.testing.assert_array_equal(part._.elmo.layers, expected)
    assert other._.elmo is None  # not that of the other part, which may stand in another context
    assert nlp(part)._.elmo is not None
    assert other._.elmo is None


def test_dropping_the_vectors_of_a_part_leaves_the_others(nlp):
    doc = nlp(TEXT)
    part = doc[0:7].as_doc()
    part._.elmo = None
    assert part._.elmo is None
    assert doc._.elmo.layers.shape == (3, 20, 16)
    assert doc[7:13].as_doc()._.elmo.layers.shape == (3, 6, 16)


def test_a_part_that_is_run_again_has_vectors_of_its_own(nlp):
    doc = nlp(TEXT)
    part = nlp(doc[0:2].as_doc())
    assert_tensor_is_mean(part)
    assert doc._.elmo.layers.shape == (3, 20, 16)
    np.testing.assert_array_equal(doc[7:13].as_doc()._.elmo.layers, doc._.elmo.layers[:, 7:13])


def test_a_part_of_a_retokenized_doc_is_an_error(nlp):
    doc = nlp(TEXT)
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:2])
    with pytest.raises(ValueError, match="made for 20 tokens"):
        _ = doc[0:3].as_doc()._.elmo.layers


def test_a_part_whose_tokens_occur_twice_needs_its_user_data(char_model):
    nlp = blank(char_model, set_tensor=False)
    doc = nlp("他打球，我打字。")
    assert doc[1].text == doc[5].text
    part = doc[5:6].as_doc()
    for read in (lambda: part._.elmo.layers, lambda: part[0]._.elmo):
        with pytest.raises(ElmoError, match=r"several places .*as_doc\(copy_user_data=True\)"):
            read()
    for tokens, copy_user_data in ((slice(5, 6), True), (slice(5, 7), False)):
        part = doc[tokens].as_doc(copy_user_data=copy_user_data)
        np.testing.assert_array_equal(part._.elmo.layers, doc._.elmo.layers[:, tokens])


def test_vectors_of_a_whole_doc_do_not_fit_an_empty_part(nlp):
    doc = nlp(TEXT)
    part = doc[0:0].as_doc()
    with pytest.raises(ElmoError, match="made for 20 tokens, but the Doc has 0 now"):
        part._.elmo = doc._.elmo
    assert part._.elmo.layers.shape == (3, 0, 16)


SOME_TEXTS = st.lists(st.sampled_from(["我去银行取钱。", "", " ", "用 Linux", "自行车"]), min_size=1)


@given(SOME_TEXTS, st.booleans())
@settings(max_examples=25, deadline=None)
def test_from_docs_joins_the_vectors(nlp, texts, ensure_whitespace):
    docs = [nlp(text) for text in texts]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        joined = Doc.from_docs(docs, ensure_whitespace=ensure_whitespace)
    np.testing.assert_array_equal(joined._.elmo.layers, np.concatenate([d._.elmo.layers for d in docs], 1))
    np.testing.assert_array_equal(
        joined._.elmo.static_vectors, np.concatenate([d._.elmo.static_vectors for d in docs])
    )


def test_from_docs_of_which_one_has_no_vectors_is_an_error(nlp):
    joined = Doc.from_docs([nlp("我去"), nlp.make_doc("银行")], exclude=["tensor"])
    with pytest.raises(ValueError, match="made for 2 tokens, but the Doc has 4 now"):
        _ = joined._.elmo.layers

"""Vectors belong to tokens: retokenization, parts of Docs, joined Docs, second passes, other Docs."""

import gc
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span, Token

import spacy_elmo
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.pipeline.annotations import output as output_module

from .helpers import CHARS, blank, tagger_config, train

TEXT = "我去银行取钱。自行车很快。我去银行取钱。"


@pytest.fixture(scope="module")
def nlp(tmp_path_factory):
    """elmo with static vectors, and sentences."""
    path = tmp_path_factory.mktemp("models") / "static"
    settings = BiLMConfig(
        projection_dim=8, hidden_size=12, max_sentence_length=20, n_static_vectors=len(CHARS), static_dim=4
    )
    bilm = BiLM(settings, Vocab(CHARS, static=CHARS)).eval()
    bilm.static_vectors = torch.randn(len(CHARS), 4)
    bilm.save(path)
    nlp = blank(path)
    nlp.add_pipe("sentencizer", config={"punct_chars": ["。"]})
    return nlp


def merge_and_split(doc):
    """Other tokens, as many as before."""
    with doc.retokenize() as retokenizer:
        retokenizer.split(doc[0], ["A", "B"], heads=[(doc[0], 1), (doc[0], 0)])
        retokenizer.merge(doc[2:4])


def words(nlp, *texts):
    return nlp(Doc(nlp.vocab, words=list(texts), spaces=[False] * len(texts)))


def test_other_tokens_of_the_same_number_are_an_error(nlp):
    doc = words(nlp, "AB", "去", "银", "行", "取", "钱")
    output = doc._.elmo
    merge_and_split(doc)
    assert len(doc) == 6
    reads = (
        lambda: output.layers,
        lambda: doc._.elmo.mean,
        lambda: doc._.elmo.static_vectors,
        lambda: doc._.elmo.lstm2,
        lambda: doc._.elmo.token_vector(doc[1]),
        lambda: doc._.elmo.token_vector(3, layer=2),
        lambda: doc._.elmo.span_vector(doc[0:2]),
        lambda: doc._.elmo.span_vector(doc),
        lambda: doc[1]._.elmo,
        lambda: doc[1:3]._.elmo,
        lambda: spacy_elmo.similarity(doc[3], doc[4]),
    )
    for read in reads:
        with pytest.raises(ValueError, match=r"made for 6 tokens, but the Doc has others now: run \"elmo\""):
            read()


def test_a_listener_compares_the_tokens(char_model):
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=1)
    elmo = nlp.get_pipe("elmo")
    doc = elmo(Doc(nlp.vocab, words=["AB", "去", "银", "行", "取", "钱"], spaces=[False] * 6))
    merge_and_split(doc)
    with pytest.raises(ValueError, match="the Doc has others now"):
        nlp.get_pipe("tagger")(doc)


def test_user_data_of_another_text_is_an_error(nlp):
    doc = nlp("我去银行")
    other = Doc(nlp.vocab, words=list("他打字。"), spaces=[False] * 4, user_data=dict(doc.user_data))
    with pytest.raises(ValueError, match="the Doc has others now"):
        _ = other._.elmo.layers


def test_an_output_of_another_text_cannot_be_set(nlp):
    doc, other = nlp("我去银行"), nlp("他打字。")
    with pytest.raises(ValueError, match="the Doc has others now"):
        other._.elmo = doc._.elmo
    other = nlp.make_doc("我去银行")
    other._.elmo = doc._.elmo
    np.testing.assert_array_equal(other._.elmo.static_vectors, doc._.elmo.static_vectors)


def test_setting_layers_drops_static_vectors(nlp):
    doc = nlp("我去银行")
    assert doc._.elmo.static_vectors.shape == (4, 4)
    doc._.elmo = np.zeros((3, 4, 16), dtype="f")
    assert doc._.elmo.static_vectors.shape == (4, 0)


def test_layers_of_another_depth_are_an_error_for_a_listener(char_model):
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=1)
    doc = nlp.make_doc("我去")
    doc._.elmo = np.zeros((2, 2, 16), dtype="f")
    with pytest.raises(ValueError, match='"tagger" was made for 3 layers, but "elmo" set 2'):
        nlp.get_pipe("tagger").predict([nlp("我去"), doc])


def test_tokens_and_spans_of_another_doc_are_an_error(nlp):
    output, other = nlp("他打球。")._.elmo, nlp("我打字。")
    for read in (
        lambda: output.token_vector(other[1]),
        lambda: output.span_vector(other[0:2]),
        lambda: output.span_vector(other),
    ):
        with pytest.raises(ValueError, match="belong to another Doc"):
            read()


# --- Second passes ---


def assert_tensor_is_mean(doc):
    np.testing.assert_array_equal(doc.tensor, doc._.elmo.mean)
    np.testing.assert_allclose(doc.vector, doc._.elmo.mean.mean(0), atol=1e-5)
    np.testing.assert_allclose(doc.vector_norm, np.linalg.norm(doc.vector), rtol=1e-5)


@pytest.mark.parametrize("change", ["merge", "split", "same number", "none"])
@pytest.mark.parametrize("via", [lambda doc: doc, Doc.copy, lambda doc: pickle.loads(pickle.dumps(doc))])
def test_a_second_pass_renews_the_tensor(nlp, change, via):
    doc = words(nlp, "AB", "去", "银", "行", "取", "钱")
    assert doc.vector_norm > 0  # spaCy keeps both
    doc = via(doc)
    with doc.retokenize() as retokenizer:
        if change in ("split", "same number"):
            retokenizer.split(doc[0], ["A", "B"], heads=[(doc[0], 1), (doc[0], 0)])
        if change in ("merge", "same number"):
            retokenizer.merge(doc[2:4])
    assert_tensor_is_mean(nlp(doc))


def test_the_tensor_of_another_pipeline_of_that_name_is_renewed(nlp, wide_model):
    other = blank(wide_model)
    doc = other(nlp("我去银行"))
    assert doc.tensor.shape == (4, 24)
    assert_tensor_is_mean(doc)


def test_the_tensor_of_others_stays_in_a_second_pass(nlp):
    doc = nlp("我去银行")
    doc.tensor = np.full((4, 16), 2, dtype="f")
    assert (nlp(doc).tensor == 2).all()


def test_the_tensor_may_have_been_removed(nlp):
    doc = nlp("我去银行")
    doc.tensor = None  # as doc_cleaner does
    assert_tensor_is_mean(nlp(doc))


def test_the_tensor_is_known_when_the_layers_were_dropped(nlp):
    doc = nlp("我去银行")
    doc.tensor[:] = 7
    doc._.elmo = None
    assert_tensor_is_mean(nlp(doc))


def test_vectors_of_empty_docs_have_the_width(nlp):
    assert np.stack([doc.vector for doc in nlp.pipe(["我", "", " "])]).shape == (3, 16)


# --- Parts of Docs, and joined ones ---


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


# --- What is handed out ---


def test_vectors_of_tokens_and_spans(nlp):
    doc = nlp(TEXT)
    layers = doc._.elmo.layers
    token, span = doc[3]._.elmo, doc[2:5]._.elmo
    np.testing.assert_array_equal(token.layers, layers[:, 3])
    np.testing.assert_array_equal(token.mean, doc._.elmo.mean[3])
    np.testing.assert_array_equal(token.lstm2, layers[2, 3])
    np.testing.assert_array_equal(token.static_vectors, doc._.elmo.static_vectors[3])
    np.testing.assert_array_equal(span.layers, layers[:, 2:5])
    np.testing.assert_array_equal(span.mean, doc._.elmo.mean[2:5])
    assert "width 16" in repr(token)
    assert "3 tokens" in repr(span)
    assert nlp.make_doc("我")[0]._.elmo is None
    assert Token.has_extension("elmo")
    assert Span.has_extension("elmo")


@pytest.mark.parametrize("layer", [None, 0, 2, "lstm1"])
def test_a_vector_keeps_nothing_but_itself(nlp, layer):
    output = nlp(TEXT)._.elmo
    token = output.doc[3]
    for vector in (
        output.token_vector(3, layer),
        output.span_vector(output.doc[3:4], layer),
        token._.elmo.get_layer(layer),
    ):
        whole = vector if vector.base is None else vector.base
        assert whole.size <= 3 * 16


def test_a_token_costs_no_more_in_a_long_doc(nlp, monkeypatch):
    """The mean is that of its own layers, and no other token is compared."""
    doc = nlp(TEXT)
    rows = []
    mean_layer = output_module.mean_layer
    monkeypatch.setattr(
        output_module, "mean_layer", lambda layers: rows.append(layers.shape[1]) or mean_layer(layers)
    )
    monkeypatch.setattr(output_module, "check_tokens", lambda *args: rows.append(len(args[0])))
    for token in doc:
        doc._.elmo.token_vector(token)
        spacy_elmo.similarity(doc[0], token)
    assert sum(rows) == 3 * len(doc)

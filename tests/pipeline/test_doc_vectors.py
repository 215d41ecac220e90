"""Vectors belong to tokens: retokenization, second passes, other Docs."""

import pickle

import numpy as np
import pytest
from spacy.tokens import Doc, Span, Token

import spacy_elmo
from spacy_elmo.pipeline.annotations import output as output_module

from .helpers import assert_tensor_is_mean, blank, tagger_config, train

TEXT = "我去银行取钱。自行车很快。我去银行取钱。"


@pytest.fixture(scope="module")
def nlp(static_model):
    """elmo with static vectors, and sentences."""
    nlp = blank(static_model)
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

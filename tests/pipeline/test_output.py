"""doc._.elmo: names of layers, tokens, spans, similarity; how the vectors travel with a Doc."""

import numpy as np
import pytest
import torch
from spacy.tokens import Doc, DocBin

import spacy_elmo
from spacy_elmo.errors import ElmoError

from .helpers import SENTENCES


@pytest.fixture
def docs(elmo_nlp):
    """他打球，我打字。and 我去银行取钱。in words."""
    out = []
    for text, _ in (SENTENCES[2], SENTENCES[0]):
        words = text.split()
        out.append(elmo_nlp(Doc(elmo_nlp.vocab, words=words, spaces=[False] * len(words))))
    return out


def test_layers_by_name(docs):
    output = docs[0]._.elmo
    for i, name in enumerate(("embedding", "lstm1", "lstm2")):
        for same in (output.get_layer(i), output.get_layer(name), getattr(output, name)):
            np.testing.assert_array_equal(same, output.layers[i])
    for same in (output.get_layer(), output.get_layer("mean"), output.mean):
        np.testing.assert_allclose(same, output.layers.mean(0), atol=1e-6)
    assert "3 layers, 8 tokens, width 16" in repr(output)


@pytest.mark.parametrize("layer", [3, -1, "lstm3", 1.0, True, np.True_, np.int64(3), np.arange(2), [1]])
def test_unknown_layer(docs, layer):
    for output in (docs[0]._.elmo, docs[0][0]._.elmo):
        with pytest.raises(ElmoError, match=r"The layer .* does not exist"):
            output.get_layer(layer)


@pytest.mark.parametrize("layer", [np.int64(1), np.uint8(1), np.argmax([0, 1]), np.array(1)])
def test_layer_numbers_of_numpy(docs, layer):
    output = docs[0]._.elmo
    np.testing.assert_array_equal(output.get_layer(layer), output.lstm1)
    assert spacy_elmo.similarity(*docs[0][:2], layer=layer) == spacy_elmo.similarity(*docs[0][:2], layer=1)


def test_tokens_and_spans(docs):
    output = docs[0]._.elmo
    np.testing.assert_array_equal(output.token_vector(docs[0][2], 1), output.layers[1, 2])
    np.testing.assert_array_equal(output.token_vector(2), output.mean[2])
    np.testing.assert_allclose(
        output.span_vector(docs[0][2:4], "lstm2"), output.layers[2, 2:4].mean(0), atol=1e-6
    )
    np.testing.assert_allclose(output.span_vector(docs[0]), output.mean.mean(0), atol=1e-6)
    assert not output.span_vector(docs[0][3:3]).any()


def test_the_span_of_one_token(docs):
    doc = docs[1]
    assert len(doc[2]) == 2  # characters of 银行
    for token in doc:
        np.testing.assert_array_equal(doc._.elmo.span_vector(token, 1), doc._.elmo.token_vector(token, 1))


def test_vectors_of_something_else(elmo_nlp, docs):
    output, lexeme = docs[0]._.elmo, elmo_nlp.vocab["打"]
    for item in (lexeme, "打", 1, None, [docs[0][1]]):
        with pytest.raises(ElmoError, match="a token, a span or a Doc, not"):
            output.span_vector(item)
        for pair in ((item, docs[0][1]), (docs[0][1], item)):
            with pytest.raises(ElmoError, match="a token, a span or a Doc, not"):
                spacy_elmo.similarity(*pair)
    for item in (docs[0][1:3], docs[0], lexeme, "打", 1.0, None, True):
        with pytest.raises(ElmoError, match="a token or its index, not"):
            output.token_vector(item)
    np.testing.assert_array_equal(output.token_vector(np.int64(2)), output.mean[2])


def test_same_word_in_two_contexts(docs):
    """打 is to play in 打球 and to type in 打字: one embedding, two states."""
    play, write = docs[0][1], docs[0][5]
    output = docs[0]._.elmo
    np.testing.assert_allclose(output.token_vector(play, 0), output.token_vector(write, 0), atol=1e-6)
    assert spacy_elmo.similarity(play, write, 0) == pytest.approx(1.0)
    for layer in (1, 2, "lstm1", None):
        assert spacy_elmo.similarity(play, write, layer) < 0.999
    assert play.similarity(write) == 1.0  # spaCy's own looks at the word form


def test_similarity_across_docs_and_kinds(docs):
    a, b = docs[0][0], docs[1][2]
    x, y = docs[0]._.elmo.layers[2, 0], docs[1]._.elmo.layers[2, 2]
    cosine = float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert spacy_elmo.similarity(a, b, 2) == pytest.approx(cosine, abs=1e-6)
    assert spacy_elmo.similarity(b, a, 2) == pytest.approx(cosine, abs=1e-6)
    assert spacy_elmo.similarity(a, a) == pytest.approx(1.0)
    for one, other in ((docs[0][0:2], b), (docs[0], docs[1]), (docs[0], b)):
        assert isinstance(spacy_elmo.similarity(one, other), float)
        assert -1.0 <= spacy_elmo.similarity(one, other) <= 1.0


def test_similarity_of_nothing(elmo_nlp, docs):
    doc = elmo_nlp(Doc(elmo_nlp.vocab, words=["我", "\n"], spaces=[False] * 2))
    assert spacy_elmo.similarity(doc[1], doc[0]) == 0.0
    assert spacy_elmo.similarity(doc[1:1], docs[0]) == 0.0


def test_similarity_needs_annotations(elmo_nlp, docs):
    with pytest.raises(ValueError, match=r"doc\._\.elmo is missing"):
        spacy_elmo.similarity(docs[0][0], elmo_nlp.make_doc("我")[0])
    with pytest.raises(ValueError, match=r"doc\._\.elmo_law is missing"):
        spacy_elmo.similarity(docs[0][0], docs[0][1], name="elmo_law")


def test_similarity_of_two_models(elmo_nlp, docs):
    doc = elmo_nlp.make_doc("我")
    doc._.elmo = np.ones((3, 1, 4), dtype="f")
    with pytest.raises(ValueError, match="widths are 16 and 4, of two models"):
        spacy_elmo.similarity(docs[0][0], doc[0])


def test_travels_with_the_doc(elmo_nlp, docs):
    expected = docs[0]._.elmo.layers
    stored = DocBin(store_user_data=True, docs=docs[:1]).to_bytes()
    copies = [
        docs[0].copy(),
        Doc(elmo_nlp.vocab).from_bytes(docs[0].to_bytes()),
        next(DocBin().from_bytes(stored).get_docs(elmo_nlp.vocab)),
    ]
    for doc in copies:
        np.testing.assert_array_equal(doc._.elmo.layers, expected)
    plain = next(DocBin().from_bytes(DocBin(docs=docs[:1]).to_bytes()).get_docs(elmo_nlp.vocab))
    assert plain._.elmo is None


def test_none_before_the_component_and_after_cleaning(elmo_nlp, docs):
    assert elmo_nlp.make_doc("我")._.elmo is None
    docs[0]._.elmo = None
    docs[0]._.elmo = None
    assert docs[0]._.elmo is None
    elmo_nlp.add_pipe("doc_cleaner", config={"attrs": {"_.elmo": None, "tensor": None}})
    doc = elmo_nlp("我去")
    assert doc._.elmo is None
    assert not any("elmo" in key for key in doc.user_data)


def test_after_retokenization(docs):
    doc = docs[0]
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:2])
    with pytest.raises(ValueError, match="made for 8 tokens, but the Doc has 7 now"):
        _ = doc._.elmo.layers
    with pytest.raises(ValueError, match="7 now"):
        spacy_elmo.similarity(doc[0], doc[1])
    assert hasattr(doc._, "elmo")  # doc_cleaner asks so
    doc._.elmo = None


@pytest.mark.parametrize(
    "value",
    [
        1,
        np.zeros((3, 8)),
        np.zeros((0, 8, 16)),
        np.zeros((3, 7, 16)),
        np.zeros((3, 8, 16), "c16"),
        np.zeros((3, 8, 16), "O"),
        torch.zeros(3, 8, 16),
    ],
)
def test_setting_something_else(docs, value):
    with pytest.raises(ElmoError, match=r"doc\._\.elmo"):
        docs[0]._.elmo = value


@pytest.mark.parametrize("dtype", ["f8", "f2", "i4"])
def test_numbers_of_another_type_become_float32(docs, dtype):
    docs[0]._.elmo = np.ones((3, 8, 16), dtype)
    assert docs[0]._.elmo.layers.dtype == np.float32


def test_setting_an_output(docs):
    output = docs[0]._.elmo
    docs[0]._.elmo = None
    docs[0]._.elmo = output
    np.testing.assert_array_equal(docs[0]._.elmo.layers, output.layers)

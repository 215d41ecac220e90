"""The component "lexical_analysis": characters in, a Doc of words with tags and entities out."""

import gc
import pickle

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_elmo.errors import ElmoError
from spacy_elmo.tasks.lexical.dictionary import Dictionary, Entry, read_dictionary
from spacy_elmo.tasks.lexical.segmentation import labels_of, words_of

from .analyzer_helpers import CONFIG, SENTENCES, make_examples, reference, trained_analyzer, words
from .helpers import train


@pytest.fixture(scope="module")
def nlp():
    return trained_analyzer()


def test_learns_its_examples(nlp):
    for text, tags, entities in SENTENCES:
        doc = nlp(text.replace(" ", ""))
        assert words(doc) == text.split()
        assert [token.tag_ for token in doc] == tags.split()
        assert [(e.start, e.end, e.label_) for e in doc.ents] == entities
    scores = nlp.evaluate(make_examples(nlp))
    assert (scores["token_f"], scores["tag_acc"], scores["ents_f"]) == (1.0, 1.0, 1.0)


def test_batches_processes_and_contexts(nlp):
    texts = [text.replace(" ", "") for text, _, _ in SENTENCES] + ["", " ", "\n\n"]
    alone = [words(nlp(text)) for text in texts]
    assert [words(doc) for doc in nlp.pipe(texts, batch_size=2)] == alone
    assert [words(doc) for doc in nlp.pipe(texts, batch_size=2, n_process=2)] == alone
    pairs = list(nlp.pipe([(text, i) for i, text in enumerate(texts)], as_tuples=True))
    assert [(words(doc), i) for doc, i in pairs] == [(a, i) for i, a in enumerate(alone)]


def test_saves_and_loads(nlp, tmp_path):
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    for text, _, _ in SENTENCES:
        assert words(loaded(text.replace(" ", ""))) == text.split()


def test_spacy_knows_that_it_changes_the_tokens(nlp):
    assert nlp.get_pipe_meta("lexical_analysis").retokenizes


@settings(deadline=None, max_examples=40)
@given(st.text(alphabet="张三北京银行。１a9 \n　😀ABé", max_size=25))
def test_the_text_stays_the_same(nlp, text):
    doc = nlp(text)
    assert doc.text == text
    assert not any(token.text.split() != [token.text] for token in doc if not token.is_space)


def test_latin_letters_and_digits_stay_together(nlp):
    assert words(nlp("用Linux kernel，２０26年")).count("Linux") == 1
    assert {"kernel", "２０26"} <= {w.rstrip("年") for w in words(nlp("用 Linux kernel，２０26年"))}


def test_what_lies_on_the_doc_goes_along(nlp):
    if not Doc.has_extension("note"):
        Doc.set_extension("note", default=None)
    doc = nlp.make_doc("张三在北京。")
    doc._.note = "mine"
    doc.cats = {"news": 1.0}
    doc.spans["group"] = [Span(doc, 3, 5, "PLACE")]
    doc._context = 7
    found = nlp.get_pipe("lexical_analysis")(doc)
    assert (found._.note, found.cats, found._context) == ("mine", {"news": 1.0}, 7)
    assert [(s.text, s.label_) for s in found.spans["group"]] == [("北京", "PLACE")]


def test_tokens_need_not_be_characters(nlp):
    doc = Doc(nlp.vocab, words=["张三", "在北", "京", "。"], spaces=[False] * 4)
    gold = reference(nlp, *SENTENCES[0])
    losses = nlp.update([Example(doc, gold)])  # a token that no word ends with teaches nothing about words
    assert np.isfinite(losses["lexical_analysis"])
    assert nlp.get_pipe("lexical_analysis")(doc).text == doc.text


class TestDictionary:
    def test_its_words_win(self, nlp, tmp_path):
        copied = spacy.blank("zh")
        copied.add_pipe("lexical_analysis", config=CONFIG)
        copied.from_bytes(nlp.to_bytes())
        pipe = copied.get_pipe("lexical_analysis")
        pipe.add_words(["三在", ("北京。", "new", "NEW")])
        doc = copied("张三在北京。")
        assert words(doc) == ["张", "三在", "北京。"]
        assert doc[2].tag_ == "new"
        assert (doc[2].ent_type_, doc[2].ent_iob_) == ("NEW", "B")
        copied.to_disk(tmp_path)
        assert words(spacy.load(tmp_path)("张三在北京。")) == ["张", "三在", "北京。"]

    def test_in_the_config(self):
        nlp = spacy.blank("zh")
        pipe = nlp.add_pipe("lexical_analysis", config={**CONFIG, "dictionary": ["三在", ["京。", "w", "X"]]})
        assert [entry.word for entry in pipe.dictionary] == ["三在", "京。"]

    def test_the_longest_from_the_left(self):
        found = Dictionary(map(Entry, ["北京", "北京大学", "大学生", "生"])).find("在北京大学生病")
        assert [(start, end) for start, end, _ in found] == [(1, 5), (5, 6)]

    def test_a_file(self, tmp_path):
        path = tmp_path / "words.txt"
        path.write_text("北京大学 nt ORG\n云计算 3 n\n\n小王 - PER\n", encoding="utf8")
        entries = [tuple(entry) for entry in read_dictionary(path)]
        assert entries == [("北京大学", "nt", "ORG"), ("云计算", "n", None), ("小王", None, "PER")]

    def test_a_line_with_too_many_fields(self, tmp_path):
        path = tmp_path / "words.txt"
        path.write_text("北京 3 ns LOC\nYork of New York\n", encoding="utf8")
        with pytest.raises(ElmoError, match="Line 2 of"):
            read_dictionary(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(ElmoError, match="not a dictionary"):
            read_dictionary(tmp_path / "none")


@given(st.lists(st.integers(1, 5), max_size=8))
def test_labels_of_words_are_words_again(lengths):
    ends = np.cumsum(lengths, dtype=int).tolist()
    spans = list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []
    assert words_of(labels_of(spans, sum(lengths))) == spans


def test_elmo_vectors_of_words(nlp):
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo")
    pipe = nlp.add_pipe("lexical_analysis", config=CONFIG)
    train(nlp, make_examples(nlp), 40)
    doc = nlp("张三在 北京。")
    expected = nlp.get_pipe("elmo").predict([doc])[0]
    np.testing.assert_allclose(doc._.elmo.layers, expected, atol=1e-5)
    assert len(doc._.elmo.static_vectors) == len(doc) < 7
    np.testing.assert_allclose(doc.tensor, expected.mean(0), atol=1e-5)
    assert pipe.labels


def test_a_sourced_analyzer_reads_the_static_vectors_of_its_own_pipeline():
    """The bundled model has static vectors, those of the words among them."""
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo")
    nlp.add_pipe("lexical_analysis", config=CONFIG)
    train(nlp, make_examples(nlp), 40)
    expected = nlp("张三在北京。")._.elmo.static_vectors
    assert expected.any()
    other = spacy.blank("zh")
    for name in nlp.pipe_names:
        other.add_pipe(name, source=nlp)
    del nlp
    gc.collect()
    np.testing.assert_array_equal(other("张三在北京。")._.elmo.static_vectors, expected)
    other.rename_pipe("elmo", "bilm")
    np.testing.assert_array_equal(other("张三在北京。")._.bilm.static_vectors, expected)
    copy = pickle.loads(pickle.dumps(dict(other.pipeline)))  # a process of nlp.pipe that is spawned
    doc = other.make_doc("张三在北京。")
    for component in copy.values():
        doc = component(doc)
    np.testing.assert_array_equal(doc._.bilm.static_vectors, expected)

"""The component "crf_ner": learns, predicts what is allowed, keeps what others found, and is saved."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_elmo.errors import ElmoError

from .helpers import MODEL, SENTENCES, make_doc, make_examples, spans_of, train


@pytest.fixture(scope="module")
def nlp():
    nlp = spacy.blank("zh")
    nlp.add_pipe("crf_ner", config={"model": MODEL})
    train(nlp, make_examples(nlp))
    return nlp


def test_learns_its_examples(nlp):
    for text, spans in SENTENCES:
        assert spans_of(nlp(text)) == spans
    assert nlp.evaluate(make_examples(nlp))["ents_f"] == 1.0


def test_predicts_the_same_one_by_one_in_batches_and_in_processes(nlp):
    texts = [text for text, _ in SENTENCES] * 3 + ["", "\n", "😀１９９８ a\r\nb"]
    alone = [spans_of(nlp(text)) for text in texts]
    assert [spans_of(doc) for doc in nlp.pipe(texts, batch_size=4)] == alone
    assert [spans_of(doc) for doc in nlp.pipe(texts, n_process=2, batch_size=4)] == alone


def test_saves_and_loads(nlp, tmp_path):
    nlp.to_disk(tmp_path / "pipeline")
    for loaded in (spacy.load(tmp_path / "pipeline"), spacy.blank("zh").from_bytes):
        if callable(loaded) and not hasattr(loaded, "pipe"):
            loaded = spacy.blank("zh")
            loaded.add_pipe("crf_ner", config={"model": MODEL})
            loaded.from_bytes(nlp.to_bytes())
        for text, spans in SENTENCES:
            assert spans_of(loaded(text)) == spans
    assert not list((tmp_path / "pipeline").rglob("*.pkl"))


def test_an_untrained_model_predicts_allowed_labels_only():
    nlp = spacy.blank("zh")
    nlp.add_pipe("crf_ner", config={"model": MODEL})
    nlp.initialize(lambda: make_examples(nlp))
    for doc in nlp.pipe(["张三李四王五赵六" * 40, "北京"]):
        assert isinstance(doc, Doc)  # doc.set_ents refuses spans that overlap


def test_entities_of_other_components_are_kept(nlp):
    ruler = spacy.blank("zh")
    ruler.add_pipe("entity_ruler").add_patterns([{"label": "RULE", "pattern": "三在北"}])
    doc = nlp.get_pipe("crf_ner")(ruler("张三在北京。"))
    spans = spans_of(doc)
    assert (1, 4, "RULE") in spans
    assert all(span == (1, 4, "RULE") or span[1] <= 1 or span[0] >= 4 for span in spans)


def test_blocked_tokens_get_no_entity_and_stay_blocked(nlp):
    doc = make_doc(nlp, "张三在北京。")
    doc.set_ents([], blocked=[doc[0:1]], default="missing")
    blocked = (doc[0].ent_iob, doc[0].ent_type)
    doc = nlp.get_pipe("crf_ner")(doc)
    assert (doc[0].ent_iob, doc[0].ent_type) == blocked == (3, 0)
    assert (3, 5, "LOC") in spans_of(doc)  # what the rest of the blocked name is, depends on rounding
    doc.set_ents([Span(doc, 3, 6, "RULE")], blocked=[doc[0:2]])
    doc = nlp.get_pipe("crf_ner")(doc)
    assert (3, 6, "RULE") in spans_of(doc)
    assert [(t.ent_iob, t.ent_type) for t in doc[:2]] == [(3, 0)] * 2


def test_probabilities(nlp):
    pipe = nlp.get_pipe("crf_ner")
    docs = [nlp(text) for text, _ in SENTENCES]
    for doc, found in zip(docs, pipe.probabilities(docs), strict=True):
        assert len(found) == len(doc.ents)
        assert all(0.5 < p <= 1.0 for p in found)
    unlikely = [Span(docs[3], 0, 2, "PER")]
    assert pipe.probabilities([docs[3]], [unlikely])[0][0] < 0.5
    for part, doc in zip(pipe.marginals(docs), docs, strict=True):
        assert part.shape == (len(doc), len(pipe.label_names))
        np.testing.assert_allclose(part.sum(1), 1.0)


def test_probabilities_of_a_stream_and_of_a_single_doc(nlp):
    pipe = nlp.get_pipe("crf_ner")
    texts = [text for text, _ in SENTENCES]
    assert pipe.probabilities(nlp.pipe(texts)) == pipe.probabilities(list(nlp.pipe(texts)))
    for function in (pipe.probabilities, pipe.marginals):
        with pytest.raises(ElmoError, match=r"give \[doc\]"):
            function(nlp(texts[0]))


@pytest.mark.parametrize(("text", "start", "end"), [("张三", 1, 1), ("北京大学的学生", 4, 7)])
def test_probability_of_a_span_that_is_empty_or_outside_is_refused(nlp, text, start, end):
    span = Span(make_doc(nlp, text), start, end, "PER")
    with pytest.raises(ElmoError, match="at least one token of the Doc"):
        nlp.get_pipe("crf_ner").probabilities([nlp("张三")], [[span]])


@pytest.mark.parametrize("end", [1, 2])
def test_an_entity_of_a_label_that_the_model_lacks_has_probability_zero(nlp, end):
    ruler = spacy.blank("zh")
    ruler.add_pipe("entity_ruler").add_patterns([{"label": "RULE", "pattern": "张三"[:end]}])
    pipe = nlp.get_pipe("crf_ner")
    doc = pipe(ruler("张三在北京。"))
    found = dict(zip([e.label_ for e in doc.ents], pipe.probabilities([doc])[0], strict=True))
    assert found["RULE"] == 0.0
    assert 0.0 < found["LOC"] <= 1.0


def test_a_single_character_entity_has_the_marginal_of_its_label(nlp):
    pipe = nlp.get_pipe("crf_ner")
    doc = nlp("京")
    label = pipe.label_names.index("S-LOC")
    assert pipe.probabilities([doc])[0] == pytest.approx([pipe.marginals([doc])[0][0, label]])


def test_a_group_of_spans():
    nlp = spacy.blank("zh")
    nlp.add_pipe("crf_ner", config={"model": MODEL, "spans_key": "names"})
    train(nlp, make_examples(nlp, spans_key="names"))
    doc = nlp("张三在北京。")
    assert not doc.ents
    assert [(s.start, s.end, s.label_) for s in doc.spans["names"]] == SENTENCES[0][1]
    assert (doc.spans["names"].attrs["scores"] > 0.5).all()
    assert nlp.evaluate(make_examples(nlp, spans_key="names"))["spans_names_f"] == 1.0


def test_what_is_not_annotated_counts_for_nothing():
    nlp = spacy.blank("zh")
    nlp.add_pipe("crf_ner", config={"model": MODEL})
    examples = make_examples(nlp)
    bare = "西安城"
    missing = Example(make_doc(nlp, bare), Doc(nlp.vocab, words=list(bare), spaces=[False] * 3))
    assert missing.get_aligned_ner() == [None] * 3
    train(nlp, [*examples, missing])
    for text, spans in SENTENCES:
        assert spans_of(nlp(text)) == spans


def test_tokens_that_do_not_align_with_the_reference(nlp):
    text, spans = SENTENCES[0]
    words = Doc(nlp.vocab, words=["张", "三在", "北京", "。"], spaces=[False] * 4)
    labels = nlp.get_pipe("crf_ner").gold_labels(Example(words, make_doc(nlp, text, spans)))
    names = nlp.get_pipe("crf_ner").label_names
    assert labels[1] == -1  # it holds the end of a name and more
    assert names[labels[2]] == "S-LOC"


def test_a_long_doc():
    nlp = spacy.blank("zh")
    nlp.add_pipe("crf_ner", config={"model": MODEL})
    (text, spans), *_ = SENTENCES
    n = 60
    many = [
        (start + i * len(text), end + i * len(text), name) for i in range(n) for start, end, name in spans
    ]
    long = Example(make_doc(nlp, n * text), make_doc(nlp, n * text, many))
    train(nlp, [*make_examples(nlp), long])
    text = 400 * text
    spans = spans_of(nlp(text))
    assert len(spans) == 800
    assert spans[:2] == SENTENCES[0][1]


def test_labels_are_final_once_trained(nlp):
    pipe = nlp.get_pipe("crf_ner")
    assert pipe.labels == ("LOC", "ORG", "PER")
    assert pipe.add_label("LOC") == 0
    with pytest.raises(ValueError, match=r"before nlp\.initialize"):
        pipe.add_label("NEW")


def test_examples_without_labels_are_refused():
    nlp = spacy.blank("zh")
    nlp.add_pipe("crf_ner", config={"model": MODEL})
    with pytest.raises(ValueError, match="no labels"):
        nlp.initialize(lambda: [Example(make_doc(nlp, "无"), make_doc(nlp, "无"))])

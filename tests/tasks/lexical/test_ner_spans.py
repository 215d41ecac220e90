"""The component "crf_ner" with a `spans_key`: spans that overlap, do not align, or are missing."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_elmo.errors import ElmoError

from .helpers import MODEL, make_doc, make_examples, train

TEXT = "张三在北京。"


@pytest.fixture(scope="module")
def nlp():
    nlp = spacy.blank("zh")
    nlp.add_pipe("crf_ner", config={"model": MODEL, "spans_key": "names"})
    train(nlp, make_examples(nlp, spans_key="names"))
    return nlp


def labels(nlp, reference, predicted=None):
    """The labels' names; "?" where all are possible."""
    pipe = nlp.get_pipe("crf_ner")
    predicted = make_doc(nlp, reference.text) if predicted is None else predicted
    names = [*pipe.label_names, "?"]
    return [names[i] for i in pipe.gold_labels(Example(predicted, reference))]


def words_doc(nlp, words):
    return Doc(nlp.vocab, words=words, spaces=[False] * len(words))


@pytest.mark.parametrize("spans", [[(0, 2, "PER"), (1, 3, "LOC")], [(0, 6, "ORG"), (3, 5, "LOC")]])
def test_overlapping_spans_are_refused(nlp, spans):
    wrong = Example(make_doc(nlp, TEXT), make_doc(nlp, TEXT, spans, spans_key="names"))
    with pytest.raises(ElmoError, match="overlap") as error:
        nlp.update([*make_examples(nlp, spans_key="names"), wrong])
    assert all(label in str(error.value) for *_, label in spans)
    assert "spancat" in str(error.value)


def test_a_span_that_is_listed_twice_or_empty(nlp):
    reference = make_doc(nlp, TEXT, [(0, 2, "PER"), (3, 5, "LOC"), (0, 2, "PER")], spans_key="names")
    reference.spans["names"].append(Span(reference, 2, 2, "LOC"))
    assert labels(nlp, reference) == ["B-PER", "E-PER", "O", "B-LOC", "E-LOC", "O"]


def test_tokens_that_a_span_does_not_align_with_are_unknown(nlp):
    predicted = words_doc(nlp, ["张", "三在", "北京", "。"])
    reference = make_doc(nlp, TEXT, [(0, 2, "PER"), (3, 5, "LOC")], spans_key="names")
    assert labels(nlp, reference, predicted) == ["?", "?", "S-LOC", "O"]
    reference = words_doc(nlp, ["张三", "在北", "京。"])
    reference.spans["names"] = [Span(reference, 0, 1, "PER"), Span(reference, 1, 2, "LOC")]
    assert labels(nlp, reference, predicted) == ["?", "?", "?", "O"]
    assert np.isfinite(nlp.update([Example(predicted, reference)])["crf_ner"])


def test_a_doc_without_the_group_is_unknown(nlp):
    reference = make_doc(nlp, TEXT)
    assert labels(nlp, reference) == ["?"] * 6
    assert labels(nlp, reference, words_doc(nlp, ["张三", "在", "北京。"])) == ["?"] * 3
    reference.spans["names"] = []
    assert labels(nlp, reference) == ["O"] * 6

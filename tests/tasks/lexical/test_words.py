"""Groups of spans on a Doc of characters, and what a Doc of words keeps of them."""

import numpy as np
import pytest
from spacy.tokens import Span

from .analyzer_helpers import trained_analyzer

TEXT = "张三在北京。"


@pytest.fixture(scope="module")
def nlp():
    return trained_analyzer()


def with_group(nlp, spans, attrs):
    doc = nlp.make_doc(TEXT)
    doc.spans["found"] = [
        Span(doc, start, end, label, kb_id=kb_id, span_id=span_id)
        for start, end, label, kb_id, span_id in spans
    ]
    doc.spans["found"].attrs.update(attrs)
    return doc


def test_ids_of_spans_and_attrs_of_their_group_are_kept(nlp):
    attrs = {"scores": [0.5, 0.6], "source": "mine"}
    doc = with_group(nlp, [(0, 2, "PER", "Q1", "first"), (3, 5, "LOC", "Q2", "second")], attrs)
    words = nlp.get_pipe("lexical_analysis")(doc)
    group = words.spans["found"]
    kept = [(s.text, s.label_, s.kb_id_, s.id_) for s in group]
    assert kept == [("张三", "PER", "Q1", "first"), ("北京", "LOC", "Q2", "second")]
    assert (group.name, group.attrs) == ("found", attrs)
    group.attrs["source"] = "other"
    assert doc.spans["found"].attrs["source"] == "mine"


def test_a_span_that_is_lost_takes_its_values_along(nlp):
    """An empty span at the end of a Doc has no place among words."""
    attrs = {
        "scores": np.array([0.5, 0.6, 0.7], dtype="f"),
        "rows": np.arange(6).reshape(3, 2),
        "names": ["a", "b", "c"],
        "pairs": ("x", "y", "z"),
        "of the group": [1, 2],
        "text": "abc",
    }
    spans = [(0, 2, "PER", "", ""), (6, 6, "X", "", ""), (3, 5, "LOC", "", "")]
    doc = with_group(nlp, spans, attrs)
    words = nlp.get_pipe("lexical_analysis")(doc)
    group = words.spans["found"]
    assert [span.text for span in group] == ["张三", "北京"]
    np.testing.assert_allclose(group.attrs["scores"], [0.5, 0.7])
    np.testing.assert_array_equal(group.attrs["rows"], [[0, 1], [4, 5]])
    rest = {"names": ["a", "c"], "pairs": ("x", "z"), "of the group": [1, 2], "text": "abc"}
    assert {key: group.attrs[key] for key in rest} == rest
    assert len(doc.spans["found"].attrs["scores"]) == 3

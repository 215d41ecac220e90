"""A second `nlp.initialize()` draws weights and labels again; labels that are refused change nothing."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from spacy_elmo.errors import ElmoError

from . import test_analyzer as analyzer
from .helpers import MODEL, make_doc, make_examples

CHARACTERS = "张三在北京"


def tagged(nlp, tags):
    doc = Doc(nlp.vocab, words=list(CHARACTERS), spaces=[False] * len(CHARACTERS), tags=tags.split())
    return [Example(nlp.make_doc(doc.text), doc)]


def named(nlp, label):
    return [Example(make_doc(nlp, CHARACTERS), make_doc(nlp, CHARACTERS, [(0, 2, label)]))]


def analyzed(nlp, tags):
    doc = analyzer.reference(nlp, "张三 在 北京", tags, [(0, 1, "NAME"), (2, 3, "CITY")])
    return [Example(nlp.make_doc(doc.text), doc)]


TASKS = {
    "crf_ner": (make_examples, lambda nlp: named(nlp, "NAME")),
    "crf_tagger": (lambda nlp: tagged(nlp, "nr nr p ns ns"), lambda nlp: tagged(nlp, "A B C D E")),
    "lexical_analysis": (analyzer.make_examples, lambda nlp: analyzed(nlp, "A B C")),
}
"""Examples of each component, and others with other labels."""


def blank(name):
    nlp = spacy.blank("zh")
    nlp.add_pipe(name, config=analyzer.CONFIG if name == "lexical_analysis" else {"model": MODEL})
    return nlp


def start(nlp, examples):
    spacy.util.fix_random_seed(3)
    return nlp.initialize(lambda: examples)


def weights(nlp, name):
    model = nlp.get_pipe(name).model
    return [node.get_param(key).copy() for node in model.walk() for key in node.param_names]


def train(nlp, examples, optimizer, steps=3):
    spacy.util.fix_random_seed(4)
    return [nlp.update(examples, sgd=optimizer, drop=0.1) for _ in range(steps)]


@pytest.mark.parametrize("other", [False, True], ids=["same labels", "other labels"])
@pytest.mark.parametrize("name", TASKS)
def test_it_equals_a_first_one(name, other):
    nlp, fresh = blank(name), blank(name)
    first, second = TASKS[name][0], TASKS[name][other]
    train(nlp, first(nlp), start(nlp, first(nlp)))
    optimizer, expected = start(nlp, second(nlp)), start(fresh, second(fresh))
    assert nlp.get_pipe(name).labels == fresh.get_pipe(name).labels
    for a, b in zip(weights(nlp, name), weights(fresh, name), strict=True):
        np.testing.assert_array_equal(a, b)
    train(nlp, second(nlp), optimizer)
    train(fresh, second(fresh), expected)
    for a, b in zip(weights(nlp, name), weights(fresh, name), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    loaded = blank(name).from_bytes(nlp.to_bytes())
    for a, b in zip(weights(nlp, name), weights(loaded, name), strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_of_an_unfinished_update_are_dropped():
    nlp = blank("crf_ner")
    start(nlp, make_examples(nlp))
    nlp.update(make_examples(nlp), sgd=False)
    train(nlp, named(nlp, "NAME"), start(nlp, named(nlp, "NAME")))


def test_labels_that_were_added_stay():
    nlp = blank("crf_ner")
    nlp.get_pipe("crf_ner").add_label("MINE")
    start(nlp, make_examples(nlp))
    start(nlp, named(nlp, "NAME"))
    assert nlp.get_pipe("crf_ner").labels == ("MINE", "NAME")


def test_resumed_training_keeps_the_weights():
    nlp = blank("crf_ner")
    train(nlp, make_examples(nlp), start(nlp, make_examples(nlp)))
    before = weights(nlp, "crf_ner")
    nlp.resume_training()
    for a, b in zip(weights(nlp, "crf_ner"), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("lexical_analysis", ["n", "v"]),
        ("lexical_analysis", {"tags": ["n", "v"]}),
        ("lexical_analysis", {"tags": ["n", "v"], "entities": [], "words": []}),
        ("lexical_analysis", {"tags": "nv", "entities": []}),
        ("lexical_analysis", {"tags": ["n", 3], "entities": []}),
        ("lexical_analysis", {"tags": ["n"], "entities": [""]}),
        ("lexical_analysis", "nv"),
        ("crf_ner", "PER"),
        ("crf_ner", ["PER", None]),
        ("crf_ner", {"PER": 1}),
        ("crf_ner", [""]),
        ("crf_tagger", 3),
    ],
)
def test_labels_of_another_form_are_refused_and_change_nothing(name, labels):
    nlp = blank(name)
    examples = TASKS[name][0](nlp)
    start(nlp, examples)
    pipe, before = nlp.get_pipe(name), weights(nlp, name)
    known = pipe.labels
    with pytest.raises(ElmoError, match="give"):
        pipe.initialize(lambda: examples, labels=labels)
    assert pipe.labels == known
    for a, b in zip(weights(nlp, name), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert nlp(CHARACTERS).text == CHARACTERS


def test_labels_may_be_given():
    nlp = blank("lexical_analysis")
    pipe = nlp.get_pipe("lexical_analysis")
    examples = analyzer.make_examples(nlp)
    pipe.initialize(lambda: examples, labels={"tags": ["n", "v", "n"], "entities": ()})
    assert pipe.label_data == {"tags": ["n", "v"], "entities": []}
    pipe.initialize(lambda: examples, labels=pipe.label_data)
    assert pipe.labels == ("n", "v")

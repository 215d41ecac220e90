"""`doc._.answer(question)`: on any Doc, and clear where its name is taken."""

import subprocess
import sys

import pytest
import spacy
from spacy.tokens import Doc

from .helpers import PASSAGES, blank

TEXT, ASKED = PASSAGES[0]


def test_on_a_doc_of_the_pipeline_and_on_any_other(trained_elmo):
    reader = trained_elmo.get_pipe("reader")
    (own,) = trained_elmo(TEXT)._.answer(ASKED[0][0])
    assert own.text == ASKED[0][1]
    assert reader.answer(ASKED[0][0], TEXT)[0].text == own.text
    other = spacy.blank("zh")(TEXT)._.answer(ASKED[0][0], top_k=2)
    assert 1 <= len(other) <= 2


def test_the_reader_of_the_docs_own_pipeline_answers(trained, trained_elmo):
    blank()  # made last, and it knows nothing
    assert trained(TEXT)._.answer(ASKED[1][0])[0].text == ASKED[1][1]
    assert trained_elmo(TEXT)._.answer(ASKED[1][0])[0].text == ASKED[1][1]


def test_a_clash_is_told_clearly():
    Doc.set_extension("answer_of_others", default=None)
    try:
        with pytest.raises(ValueError, match=r"doc\._\.answer_of_others is already used"):
            blank(extension="answer_of_others")
    finally:
        Doc.remove_extension("answer_of_others")


def test_nothing_is_registered_on_import():
    code = (
        "import spacy_elmo.tasks.reading.component; from spacy.tokens import Doc; "
        "assert not Doc.has_extension('answer')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_reader():
    nlp = blank(extension="answer_for_a_while")
    doc = nlp.make_doc(TEXT)
    del nlp
    import gc

    gc.collect()
    with pytest.raises(ValueError, match="No loaded pipeline has a reader"):
        spacy.blank("zh").make_doc(doc.text)._.answer_for_a_while("谁")

"""The user dictionary of "lexical_analysis": other input than a list of words is refused."""

import pytest
import spacy

from spacy_elmo.errors import ElmoError

from .analyzer_helpers import CONFIG


@pytest.fixture
def pipe():
    return spacy.blank("zh").add_pipe("lexical_analysis", config=CONFIG)


@pytest.mark.parametrize(
    "words",
    [
        "云计算",
        {"云计算": "n"},
        5,
        None,
        [5],
        [None],
        [()],
        [("云计算", "n", "ORG", "x")],
        [("云计算", 5)],
        [("云计算", "n", 5)],
        [(None, "n")],
        [("", "n")],
        [""],
        [" "],
        ["云 计算"],
        [{"云计算": "n"}],
    ],
)
def test_what_is_no_list_of_words_is_refused_and_changes_nothing(pipe, words):
    pipe.add_words(["北京"])
    with pytest.raises(ElmoError, match="give"):
        pipe.add_words(words)
    assert [entry.word for entry in pipe.dictionary] == ["北京"]


def test_words_with_and_without_tags(pipe):
    pipe.add_words(iter(["云", ("计算", "n"), ["张江", None, "LOC"]]))
    entries = [("云", None, None), ("计算", "n", None), ("张江", None, "LOC")]
    assert [tuple(entry) for entry in pipe.dictionary] == entries


def test_words_of_a_config():
    config = {**CONFIG, "dictionary": ["云", ["张江", None, "LOC"]]}
    pipe = spacy.blank("zh").add_pipe("lexical_analysis", config=config)
    assert [tuple(entry) for entry in pipe.dictionary] == [("云", None, None), ("张江", None, "LOC")]


def test_a_word_as_dictionary_of_a_config_is_refused():
    with pytest.raises(ElmoError, match="give"):
        spacy.blank("zh").add_pipe("lexical_analysis", config={**CONFIG, "dictionary": "云计算"})

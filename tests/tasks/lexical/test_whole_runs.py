"""Keep whole in "lexical_analysis": runs of letters, numbers, characters of several code points."""

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.training import Example

from .analyzer_helpers import CONFIG, trained_analyzer, words

FAMILY = "👨\u200d👩\u200d👧"
KEPT = [
    "AIDS",
    "ＡＩ",
    "1995",
    "１９",
    "café",
    "cafe\u0301",
    "naïve",
    "Ünïcode",
    "Łódź",
    "Москва",
    "ελληνικά",
    "שלום",
    "سلام",
    "हिन्दी",
    "می\u200cخواهم",
    FAMILY,
    "👩🏽\u200d⚕\ufe0f",
    "❤\ufe0f",
    "1\ufe0f\u20e3",
    "🇨🇳",
    "🏴\U000e0067\U000e0062\U000e007f",
    "葛\U000e0100",
    "が\u3099",
]
SPLIT = ["北京", "日本", "ひらがな", "ภาษา", "ｶﾅ", "한국", "😀😀", "。，", "①②"]
"""Strings that the model may split."""


@pytest.fixture(scope="module")
def nlp():
    return trained_analyzer()


def with_words(nlp, entries):
    copied = spacy.blank("zh")
    copied.add_pipe("lexical_analysis", config=CONFIG).from_bytes(nlp.get_pipe("lexical_analysis").to_bytes())
    copied.get_pipe("lexical_analysis").add_words(entries)
    return copied


@pytest.fixture(scope="module")
def singles(nlp):
    """An analyzer that would like to make a word of each character."""
    copied = with_words(nlp, [])
    copied.get_pipe("lexical_analysis").model.get_ref("segment").set_param("b", np.array([0, 0, 0, 99], "f"))
    return copied


@pytest.mark.parametrize("kept", KEPT)
def test_what_is_kept(singles, kept):
    assert words(singles(kept)) == [kept]
    assert words(singles(f"在{kept}，{kept} {kept}。")) == ["在", kept, "，", kept, kept, "。"]


@pytest.mark.parametrize("split", SPLIT)
def test_what_may_be_split(singles, split):
    assert words(singles(split)) == list(split)


def test_neighbours_are_not_joined(singles):
    assert words(singles("AI5北京café👩🇨🇳🇺🇸x²")) == [
        "AI",
        "5",
        "北",
        "京",
        "café",
        "👩",
        "🇨🇳",
        "🇺🇸",
        "x",
        "²",
    ]
    assert words(singles(f"{FAMILY}{FAMILY}a\u200d北")) == [FAMILY, FAMILY, "a\u200d", "北"]
    assert words(singles("a \u0301b \u200d")) == ["a", "\u0301", "b", "\u200d"]


def test_tokens_of_several_characters_are_kept_together(singles):
    doc = Doc(singles.vocab, words=["Lin", "ux", "在", "19", "95"], spaces=[False] * 5)
    assert words(singles.get_pipe("lexical_analysis")(doc)) == ["Linux", "在", "1995"]


def test_the_dictionary_splits_no_run(nlp):
    nlp = with_words(nlp, ["AI", "5", "京A", "京", "é", "👩", "ＢＣ"])
    assert words(nlp("AIDS 1995 MAIL")) == ["AIDS", "1995", "MAIL"]
    assert words(nlp("AI在5。ＡＩ")) == ["AI", "在", "5", "。", "ＡＩ"]
    assert "café" in words(nlp("在café。"))
    assert FAMILY in words(nlp(f"在{FAMILY}。"))
    # A longer match that would split a run does not hide a shorter one.
    assert words(nlp("京AB"))[0] == "京"
    assert "BC" in words(nlp("京ABC BC"))


def test_training_data_may_split_them(nlp):
    for tokens in (["AI", "DS"], ["caf", "é"], list(FAMILY)):
        doc = Doc(nlp.vocab, words=tokens, spaces=[False] * len(tokens), tags=["nr"] * len(tokens))
        assert nlp.update([Example(nlp.make_doc(doc.text), doc)])["lexical_analysis"] < 1e6


@given(st.text(alphabet="aé\u0301\u200d\ufe0f👩🏽⚕🇨🇳1北ﾅ \n。", max_size=12))
def test_any_text_has_words(singles, text):
    doc = singles(text)
    assert doc.text == text
    assert not any(token.text.split() != [token.text] for token in doc if not token.is_space)

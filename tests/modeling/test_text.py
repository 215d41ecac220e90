"""Normalisation, sentences and characters."""

import doctest
import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo import text as module
from spacy_elmo.text import normalize, sentence_spans, split_characters, split_evenly

# Drawn densely from what matters here, and from everything.
texts = st.text(
    st.one_of(st.sampled_from("我爱北京。！？!?…”’」』）)\"'\r\n　 \tabＡz０９.，,—“‘"), st.characters())
)
chinese = st.text("我爱北京，。！？、：；（）《》“”‘’—…「」1998年", min_size=1)


def test_examples_in_the_docstrings():
    assert doctest.testmod(module).attempted >= 4
    assert doctest.testmod(module).failed == 0


@given(texts)
def test_normalize_keeps_the_length_and_is_idempotent(text):
    assert len(normalize(text)) == len(text)
    assert normalize(normalize(text)) == normalize(text)


@given(st.characters())
def test_normalize_touches_full_width_letters_and_digits_only(character):
    full_width = unicodedata.name(character, "").startswith("FULLWIDTH") and character.isalnum()
    expected = unicodedata.normalize("NFKC", character) if full_width else character
    assert normalize(character) == expected


def test_normalize_leaves_no_full_width_letter_or_digit():
    found = "".join(map(chr, range(0xFF01, 0xFF5F)))
    kept = [c for c in normalize(found) if c.isalnum()]
    assert "".join(kept) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    assert normalize("，！？（") == "，！？（"


@given(texts)
def test_sentences_cover_every_character_once_and_in_order(text):
    spans = sentence_spans(text)
    assert all(start < end for start, end in spans)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    covered = {i for start, end in spans for i in range(start, end)}
    assert all(i in covered for i, c in enumerate(text) if not c.isspace())
    assert all(text[start:end].strip() for start, end in spans)
    assert all("\n" not in text[start:end] and "\r" not in text[start:end] for start, end in spans)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \n\t ", []),
        ("你好。", ["你好。"]),
        ("你好。再见", ["你好。", "再见"]),
        ("真的？！是的……好。", ["真的？！", "是的……", "好。"]),
        ("他说：“走！”然后走了。", ["他说：“走！”", "然后走了。"]),
        ("（完。）下一段", ["（完。）", "下一段"]),
        ("一\r\n二\n三\r四", ["一", "二", "三", "四"]),
        ("增长3.8%，达1.2亿。", ["增长3.8%，达1.2亿。"]),
        ("Mr. Li came!Then he left.", ["Mr. Li came!", "Then he left."]),
        ("！", ["！"]),
    ],
)
def test_where_sentences_end(text, expected):
    assert [text[start:end] for start, end in sentence_spans(text)] == expected


@given(texts)
def test_characters_have_strictly_increasing_offsets(text):
    units, offsets = split_characters(text)
    assert len(units) == len(offsets)
    assert all(a < b for a, b in itertools.pairwise(offsets))
    for unit, offset in zip(units, offsets, strict=True):
        assert unit == " " if text[offset].isspace() else unit == normalize(text[offset])


@given(texts)
def test_characters_lose_nothing_but_white_space(text):
    units, _ = split_characters(text)
    assert "".join(units).replace(" ", "") == "".join(normalize(text).split())
    assert not (units and (units[0] == " " or units[-1] == " "))
    assert "  " not in "".join(units)


@given(chinese, st.data())
def test_spaces_in_chinese_make_no_difference(text, data):
    spaced = text[0]
    for before, after in itertools.pairwise(text):
        inside = before.isdigit() and after.isdigit()  # a space between two numbers does say something
        spaced += (" " if not inside and data.draw(st.booleans()) else "") + after
    assert split_characters(spaced)[0] == split_characters(text)[0]


def test_a_space_between_foreign_words_is_one_unit():
    assert (
        "".join(split_characters("用  Linux \t kernel 写的 1998 2000 年")[0])
        == "用Linux kernel写的1998 2000年"
    )


@given(st.integers(0, 2000), st.integers(1, 300))
def test_chunks_partition_evenly(n, limit):
    pieces = split_evenly(n, limit)
    assert [i for start, end in pieces for i in range(start, end)] == list(range(n))
    sizes = {end - start for start, end in pieces}
    assert len(pieces) == -(-n // limit)
    assert not sizes or (min(sizes) >= 1 and max(sizes) <= limit and max(sizes) - min(sizes) <= 1)

"""Units and tokens of any text under any segmentation."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo.kernels import token_ops
from spacy_elmo.kernels.binding import supported_targets
from spacy_elmo.pipeline.annotations.alignment import align_characters, align_words, token_layers
from spacy_elmo.text import normalize

L, D = 3, 4
TEXT = st.text(
    st.one_of(st.sampled_from("我爱北京。！？…”\n\r\t 　\u2028\x1cab１Ａ'😀é"), st.characters(codec="utf-8")),
    max_size=60,
)


@st.composite
def segmented(draw, count=1):
    """A text and ways to cut it into tokens: offsets, from 0 to its end."""
    text = draw(TEXT)
    inner = st.sets(st.integers(1, max(len(text) - 1, 1)), max_size=20)
    cuts = [sorted({0, len(text)} | {c for c in draw(inner) if c < len(text)}) for _ in range(count)]
    return text, *(np.array(c if text else [0]) for c in cuts)


def unit_states(sentences):
    """(L, n, D) for each sentence: column and layer say which unit of the text it was, counted from 1."""
    states, n = [], 0
    for sentence in sentences:
        number = np.arange(n + 1, n + 1 + len(sentence), dtype=np.float32)
        n += len(sentence)
        states.append(np.broadcast_to(number[None, :, None], (L, len(sentence), D)))
    return states


def own_units(text, alignment):
    """For each offset of the text that is not white space, the number of its unit."""
    units = [u for sentence in alignment.sentences for u in sentence]
    numbers = [i for i, u in enumerate(units, 1) if u != " "]
    offsets = [i for i, c in enumerate(text) if not c.isspace()]
    assert [units[i - 1] for i in numbers] == [normalize(text)[i] for i in offsets]
    return dict(zip(offsets, numbers, strict=True))


@given(segmented(), st.integers(1, 7))
def test_token_of_characters_has_its_own_characters_only(case, limit):
    text, cuts = case
    starts, ends = cuts[:-1], cuts[1:]
    alignment = align_characters(text, starts, ends, limit)
    assert all(0 < len(s) <= limit for s in alignment.sentences)
    vectors = token_layers([alignment], [unit_states(alignment.sentences)], L, D)[0]
    assert vectors.shape == (L, len(starts), D)
    assert vectors.dtype == np.float32
    number = own_units(text, alignment)
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        own = [number[o] for o in range(start, end) if o in number]
        expected = np.zeros((L, D))
        if own:
            expected[0] = np.mean(own)
            expected[1:, : D // 2] = own[-1]  # forward: has read all of the token
            expected[1:, D // 2 :] = own[0]  # backward: in the same way
        np.testing.assert_allclose(vectors[:, i], expected, rtol=1e-6)


@given(segmented(count=2))
def test_units_do_not_depend_on_the_segmentation(case):
    text, one, other = case
    read = [align_characters(text, cuts[:-1], cuts[1:], 10).sentences for cuts in (one, other)]
    assert read[0] == read[1]


@given(segmented(), st.integers(1, 7))
def test_words_are_units_and_white_space_is_none(case, limit):
    text, cuts = case
    starts = cuts[:-1]
    words = [text[a:b] for a, b in pairwise(cuts)]
    alignment = align_words(text, words, starts, limit)
    visible = [i for i, word in enumerate(words) if word.strip()]
    assert [u for s in alignment.sentences for u in s] == [words[i].strip() for i in visible]
    assert all(0 < len(s) <= limit for s in alignment.sentences)
    vectors = token_layers([alignment], [unit_states(alignment.sentences)], L, D)[0]
    expected = np.zeros(len(words))
    expected[visible] = np.arange(1, len(visible) + 1)
    np.testing.assert_array_equal(vectors, np.broadcast_to(expected[None, :, None], vectors.shape))


def test_words_are_read_by_sentence():
    words = ["你好", "。", "“", "再见", "！", "”", "他", "说", "\n", "好"]
    starts = np.cumsum([0, *(len(w) for w in words[:-1])])
    alignment = align_words("".join(words), words, starts, 128)
    assert alignment.sentences == [["你好", "。"], ["“", "再见", "！", "”"], ["他", "说"], ["好"]]


def test_the_space_between_latin_words_is_read_but_is_nobodys():
    text = "用 Linux kernel"
    starts, ends = np.array([0, 2, 8]), np.array([1, 7, 14])
    alignment = align_characters(text, starts, ends, 128)
    assert alignment.sentences == [list("用Linux kernel")]
    vectors = token_layers([alignment], [unit_states(alignment.sentences)], L, D)[0]
    np.testing.assert_array_equal(vectors[1], [[1, 1, 1, 1], [6, 6, 2, 2], [13, 13, 8, 8]])


@pytest.mark.parametrize("text", ["", " ", "\n", " \n\t", "　"])
def test_nothing_to_read(text):
    starts = np.arange(len(text))
    for alignment in (
        align_characters(text, starts, starts + 1, 10),
        align_words(text, list(text), starts, 10),
    ):
        assert alignment.sentences == []
        vectors = token_layers([alignment], [[]], L, D)[0]
        assert vectors.shape == (L, len(text), D)
        assert not vectors.any()


@given(st.lists(segmented(), max_size=3), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_natively_and_by_numpy_tokens_get_the_same(cases, limit, seed):
    alignments = [align_characters(text, cuts[:-1], cuts[1:], limit) for text, cuts in cases]
    rng = np.random.default_rng(seed)
    states = [
        [rng.standard_normal((L, len(s), 10), dtype=np.float32) for s in each.sentences]
        for each in alignments
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_ops, "available", lambda: False)
        expected = token_layers(alignments, states, L, 10)
    units = [
        token_ops.TokenAlignment(own, a.n_tokens, a.token_ids, a.unit_starts, a.unit_ids)
        for a, own in zip(alignments, states, strict=True)
    ]
    for found in (
        token_layers(alignments, states, L, 10),
        *(token_ops.pool_tokens(units, L, 10, target=target) for target in supported_targets()),
    ):
        assert len(found) == len(expected)
        for layers, own in zip(found, expected, strict=True):
            np.testing.assert_array_equal(layers, own)

"""Lexicon features against a plain computation."""

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.tasks.lexical.lexicon import Lexicon, Trie, rank_weights

STRINGS = ["北", "京", "北京", "大学", "京大", "北京大学", "学生", "1998年", "𠮷野", "a"]
TEXT = st.text(alphabet="北京大学生１998年𠮷野ab \n　", max_size=30)


def lexicon(weights=None):
    rng = np.random.default_rng(0)
    return Lexicon(STRINGS, rng.normal(size=(len(STRINGS), 3)).astype("f"), weights)


def occurrences(text):
    """Start, end and number of each string in a text, by looking everywhere."""
    return {
        (i, i + len(string), row)
        for row, string in enumerate(STRINGS)
        for i in range(len(text))
        if text.startswith(string, i)
    }


@given(TEXT)
def test_the_trie_finds_what_looking_everywhere_finds(text):
    found = Trie(STRINGS).find(text)
    places = list(zip(found.starts, found.starts + found.lengths, found.rows, strict=True))
    assert len(set(places)) == len(places)
    assert set(places) == occurrences(text)


def test_a_very_long_string_takes_no_memory_for_the_others():
    strings = [f"词{i}" for i in range(3000)] + ["北京" * 10000]
    tracemalloc.start()
    trie = Trie(strings)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000
    found = trie.find("词7" + "北京" * 10000)
    assert [strings[row] for row in found.rows] == ["词7", strings[-1]]


def test_strings_without_weight_have_no_features():
    table = Lexicon(["北", "京"], np.ones((2, 3)), np.array([0.0, 2.0]))
    features = table.features("北京", np.array([0, 1]), np.array([1, 2])).reshape(2, 4, 3)
    np.testing.assert_array_equal(features[:, 3], [[0, 0, 0], [1, 1, 1]])


def test_an_empty_lexicon_finds_nothing():
    assert len(Trie([]).find("北京").rows) == 0
    features = Lexicon([], np.zeros((0, 3))).features("北京", np.array([0, 1]), np.array([1, 2]))
    np.testing.assert_array_equal(features, np.zeros((2, 12)))


@settings(deadline=None)
@given(TEXT, st.lists(st.integers(1, 3), max_size=30), st.booleans())
def test_features_are_those_of_a_plain_computation(text, widths, weighted):
    weights = np.arange(1.0, len(STRINGS) + 1) if weighted else np.ones(len(STRINGS))
    table = lexicon(weights)
    starts, ends = cut(text, widths)
    features = table.features(text, starts, ends).reshape(len(starts), 4, 3)
    np.testing.assert_allclose(features, plain(table, weights, text, starts, ends), atol=1e-6)


def cut(text, widths):
    """Tokens of a text: words of the widths that hypothesis has drawn, white space by itself or left out."""
    starts, ends, at = [], [], 0
    for width in [*widths, *[1] * len(text)]:
        while at < len(text) and text[at] in " \n":  # the ideographic space becomes a token
            at += 1
        end = at
        while end < min(len(text), at + width) and text[end] not in " \n":
            end += 1
        if end > at:
            starts.append(at)
            ends.append(end)
        at = end
    return np.array(starts, dtype=int), np.array(ends, dtype=int)


def plain(table, weights, text, starts, ends):
    """(n_tokens, 4, S) one token, one group and one string after the other."""
    packed = [(i, c) for i, c in enumerate(text.replace("１", "1")) if not c.isspace()]
    out = np.zeros((len(starts), 4, 3))
    totals = np.zeros((len(starts), 4, 1))
    for begin, end, row in occurrences("".join(c for _, c in packed)):
        first, last = packed[begin][0], packed[end - 1][0]
        i, j = (next(t for t in range(len(starts)) if starts[t] <= at < ends[t]) for at in (first, last))
        groups = [(i, 0), (j, 2), *((t, 1) for t in range(i + 1, j))]
        if i == j:
            groups = [(i, 3)] if (first, last + 1) == (starts[i], ends[i]) else []
        for token, group in groups:
            out[token, group] += weights[row] * table.vectors[row].numpy()
            totals[token, group] += weights[row]
    return out / np.maximum(totals, 1e-9)


def test_groups_of_a_known_example():
    table = lexicon()
    text = "北京大学"
    features = table.features(text, np.arange(4), np.arange(1, 5)).reshape(4, 4, 3)
    vector = dict(zip(STRINGS, table.vectors.numpy(), strict=True))
    np.testing.assert_allclose(features[0, 0], (vector["北京"] + vector["北京大学"]) / 2, atol=1e-6)
    np.testing.assert_allclose(features[2, 1], vector["北京大学"], atol=1e-6)
    np.testing.assert_allclose(features[2, 2], vector["京大"], atol=1e-6)
    np.testing.assert_allclose(features[1, 3], vector["京"], atol=1e-6)
    assert not features[2, 3].any()


def test_rank_weights_fall_with_the_rank_of_strings_of_several_characters():
    assert rank_weights(["的", "中国", "人", "北京"]).tolist() == [1.0, 1.0, 1.0, 0.5]


def test_features_of_words_are_the_word_and_what_crosses_its_borders():
    table = lexicon()
    features = table.features("北京大学", np.array([0, 2]), np.array([2, 4])).reshape(2, 4, 3)
    vector = dict(zip(STRINGS, table.vectors.numpy(), strict=True))
    np.testing.assert_allclose(features[0, 3], vector["北京"], atol=1e-6)
    np.testing.assert_allclose(features[0, 0], (vector["北京大学"] + vector["京大"]) / 2, atol=1e-6)

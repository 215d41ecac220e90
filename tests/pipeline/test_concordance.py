"""Words found as strings: where, which vectors, and which are the nearest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc

from spacy_elmo.errors import ElmoError
from spacy_elmo.pipeline.architectures import build_bilm_v1
from spacy_elmo.pipeline.concordance import (
    Occurrence,
    TopK,
    iter_tokens,
    occurrence_vectors,
    occurrences,
    search_vectors,
    select_layer,
)
from spacy_elmo.text import normalize, split_characters

from .helpers import SENTENCES, blank

texts = st.text(st.sampled_from("他打球字北京。！\n 　aB3３Ｂ“”"), max_size=30)
words = st.text(st.sampled_from("打球字北aB3３Ｂ"), min_size=1, max_size=2)


def places(text: str, word: str, **settings) -> list[tuple[str, int, int]]:
    return [(o.sentence, o.start, o.end) for found in occurrences(text, word, **settings) for o in found]


# where


def test_sentence_by_sentence():
    found = list(occurrences(" 他打球。我打字，\t她打水。\n不。", "打"))
    assert [[(o.sentence, o.start) for o in same] for same in found] == [
        [("他打球。", 1)],
        [("我打字，\t她打水。", 1), ("我打字，\t她打水。", 6)],
    ]


def test_not_across_sentences_and_not_overlapping():
    assert places("他打。打球。", "打。打") == []
    assert [start for _, start, _ in places("哈哈哈哈哈", "哈哈")] == [0, 2]


def test_inside_a_longer_word_of_chinese_only():
    assert places("自行车", "行") == [("自行车", 1, 2)]
    assert places("MAIL有AI，AI3没有，用AI", "AI") == [("MAIL有AI，AI3没有，用AI", i, i + 2) for i in (5, 15)]


def test_full_width():
    assert places("３Ｇ和3G和３G", "3Ｇ") == [("３Ｇ和3G和３G", i, i + 2) for i in (0, 3, 6)]
    assert places("３Ｇ和3G和３G", "3G", fold_fullwidth=False) == [("３Ｇ和3G和３G", 3, 5)]


@pytest.mark.parametrize("word", ["", " ", "　", ".", "(", "[打"])
def test_what_is_no_word_or_no_pattern(word):
    assert places("他 打　球", word) == []


@given(texts, words)
def test_all_of_them(text, word):
    for sentence, start, end in places(text, word):
        assert normalize(sentence[start:end]) == normalize(word)
        assert sentence == sentence.strip()
        assert sentence in text
    if all(character in "打球字北" for character in word):
        assert len(places(text, word)) == text.count(word)


@given(texts)
def test_every_token(text):
    found = [o for same in iter_tokens(text, lambda s: split_characters(s)[0]) for o in same]
    assert "".join(o.sentence[o.start : o.end] for o in found) == "".join(text.split())


# which vectors


def test_vectors_are_those_of_tokens(char_model):
    text = "我去银行取钱，他去银行。"
    tokens = ["我去", "银行", "取钱，他去", "银行", "。"]
    nlp = blank(char_model)
    doc = nlp(Doc(nlp.vocab, words=tokens, spaces=[False] * 5))
    layers = occurrence_vectors(build_bilm_v1(char_model), list(occurrences(text, "银行")))
    assert layers.shape == (3, 2, 16)
    np.testing.assert_allclose(layers, doc._.elmo.layers[:, [1, 3]], atol=1e-5)


def test_vectors_of_words(word_model):
    text, words = SENTENCES[2][0].replace(" ", ""), SENTENCES[2][0].split()
    nlp = blank(word_model)
    nlp.get_pipe("elmo").segmenter = "jieba"
    doc = nlp(Doc(nlp.vocab, words=words, spaces=[False] * len(words)))
    layers = occurrence_vectors(build_bilm_v1(word_model), list(occurrences(text, "打")), list)
    np.testing.assert_allclose(layers, doc._.elmo.layers[:, [1, 5]], atol=1e-5)


def test_vectors_of_several_sentences(char_model):
    bilm = build_bilm_v1(char_model)
    found = list(occurrences("他打球。我打字，她打水。", "打"))
    together = occurrence_vectors(bilm, found)
    apart = np.concatenate([occurrence_vectors(bilm, [[each]]) for same in found for each in same], axis=1)
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_vectors_of_a_sentence_without_tokens(char_model):
    assert occurrence_vectors(build_bilm_v1(char_model), [[], [Occurrence("打", 0, 1)]]).shape == (3, 1, 16)


def norm_one(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_vectors_to_search_are_the_weighted_sum_of_word_and_other_tokens(char_model, weight):
    text = "我去银行取钱。"
    nlp = blank(char_model)
    words = ["我", "去", "银行", "取", "钱", "。"]
    (states,) = nlp(Doc(nlp.vocab, words=words, spaces=[False] * 6))._.elmo.layers[2:]
    others = np.delete(states, 2, axis=0).mean(axis=0)
    expected = norm_one(norm_one(states[2]) + weight * norm_one(others))
    found = list(occurrences(text, "银行"))
    made = search_vectors(build_bilm_v1(char_model), found, 2, sentence_weight=weight)
    np.testing.assert_allclose(made, expected[None], atol=1e-5)


def test_a_sentence_of_one_token_has_no_other_tokens(char_model):
    bilm, found = build_bilm_v1(char_model), [[Occurrence("打", 0, 1)], []]
    alone = search_vectors(bilm, found, None)
    np.testing.assert_array_equal(search_vectors(bilm, found, None, sentence_weight=1.0), alone)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(char_model, weight):
    with pytest.raises(ElmoError, match="sentence_weight"):
        search_vectors(build_bilm_v1(char_model), [[Occurrence("打", 0, 1)]], 0, sentence_weight=weight)


def test_of_layer():
    layers = np.asarray([[[3.0, 4.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 2.0]]])
    np.testing.assert_allclose(select_layer(layers, 0), [[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(select_layer(layers, 1), [[1, 0], [0, 1]])
    np.testing.assert_allclose(select_layer(layers, None), np.asarray([[2, 2], [0, 1]]) / [[8**0.5], [1]])


# which are nearest


def unit(angle: float) -> np.ndarray:
    return np.asarray([np.cos(angle), np.sin(angle)])


@given(st.lists(st.integers(-90, 90), max_size=20), st.integers(1, 5), st.integers(1, 4))
def test_nearest_of_a_stream(degrees, n, batch):
    found = [Occurrence(str(i), 0, 1) for i in range(len(degrees))]
    rows = np.asarray([unit(np.radians(angle)) for angle in degrees]).reshape(-1, 2)
    nearest = TopK(unit(0.0), n, Occurrence("here", 0, 1))
    for i in range(0, len(found), batch):
        nearest.add(found[i : i + batch], rows[i : i + batch])
        assert len(nearest.best) <= n
    assert nearest.compared == len(degrees)
    cosines = [known.similarity for known in nearest.best]
    assert cosines == pytest.approx(sorted(np.cos(np.radians(degrees)), reverse=True)[:n])
    for known in nearest.best:
        assert known.similarity == pytest.approx(np.cos(np.radians(degrees[int(known.occurrence.sentence)])))


def test_nearest_is_not_itself_and_nothing_twice():
    query_occurrence, same, other = Occurrence("a", 0, 1), Occurrence("b", 0, 1), Occurrence("b", 2, 3)
    nearest = TopK(unit(0.0), 5, query_occurrence)
    nearest.add([same, query_occurrence, same, other], np.stack([unit(0.1), unit(0.0), unit(0.1), unit(0.2)]))
    assert [known.occurrence for known in nearest.best] == [same, other]
    assert nearest.compared == 3

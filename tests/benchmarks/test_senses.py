"""The set of senses is what it says, and its scores are right."""

from collections import Counter
from itertools import groupby

import eval_word_senses
import numpy as np
import pytest
from eval_word_senses import Example
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo.pipeline.concordance import unit_rows

EXAMPLES = eval_word_senses.read(eval_word_senses.SENSES)
SENSES = ["a", "a", "a", "b", "b", "b"]


def rows(vectors) -> np.ndarray:
    """(n, D) of length 1."""
    return unit_rows(np.asarray(vectors, dtype=np.float32))


# the set


def test_a_hundred_words_in_two_senses_of_three_sentences():
    counts = Counter((example.word, example.sense) for example in EXAMPLES)
    assert set(counts.values()) == {3}
    assert set(Counter(word for word, _ in counts).values()) == {2}
    assert len({word for word, _ in counts}) == 100
    assert len(list(groupby(EXAMPLES, key=lambda example: example.word))) == 100
    assert len({example.sentence for example in EXAMPLES}) == 600
    assert {example.pos for example in EXAMPLES} <= set("nvadqrfpu")
    assert len({(example.word, example.sense, example.pos) for example in EXAMPLES}) == 200


def test_a_sentence_holds_its_word_once():
    for example in EXAMPLES:
        assert example.sentence.count(example.word) == 1
        where = eval_word_senses.place(example)
        assert where.sentence[where.start : where.end] == example.word
        assert all(field == field.strip() and field for field in (example.sense, example.sentence))
        assert sum(character.isalnum() for character in example.sentence) >= 8
        assert len(example.sentence) <= 25


def test_the_place_in_the_sentence_does_not_give_the_sense_away():
    # A model that knows nothing but how far it is from the ends must not look as if it knew senses.
    ends = np.asarray([[(at := eval_word_senses.place(e)).start, len(e.sentence) - at.end] for e in EXAMPLES])
    for places in (ends[:, 0], ends[:, 0] / ends.sum(axis=1)):
        on_a_circle = np.stack([np.cos(places / 30), np.sin(places / 30)], axis=1)
        shares = eval_word_senses.score(EXAMPLES, on_a_circle)
        assert abs(np.mean(list(shares.values())) - 0.4) < 0.03


# the score


def test_a_model_that_knows_the_senses():
    vectors = [[1, 0.1 * i, 0] for i in range(3)] + [[0, 0.1 * i, 1] for i in range(3)]
    assert eval_word_senses.same_sense(rows(vectors), SENSES).tolist() == [1] * 6


def test_a_model_that_takes_them_for_each_other():
    vectors = [np.eye(3)[i] for i in (0, 1, 2, 0, 1, 2)]
    assert eval_word_senses.same_sense(rows(vectors), SENSES).tolist() == [0] * 6


def test_a_layer_without_context_has_chance():
    assert eval_word_senses.same_sense(rows([[0.3, 0.7]] * 6), SENSES) == pytest.approx(0.4)


@given(st.permutations(range(6)))
def test_ties_count_by_lot_whatever_the_order(order):
    vectors = np.asarray([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 1]])
    # Two of the three at 45 degrees to the third have its sense.
    expected = np.asarray([1 / 2, 1 / 2, 2 / 3, 0, 1, 1])
    found = eval_word_senses.same_sense(rows(vectors[list(order)]), [SENSES[i] for i in order])
    assert found == pytest.approx(expected[list(order)])


def test_score_by_word():
    examples = [Example(word, sense, "") for word in "打花" for sense in SENSES]
    knowing = np.asarray([[1, 0, 0.5] if example.sense == "a" else [0, 1, 0.5] for example in examples])
    knowing[:6] = 1  # the first word's vectors are equal
    assert eval_word_senses.score(examples, knowing) == {"打": pytest.approx(0.4), "花": 1.0}
    assert eval_word_senses.score(examples, 7 * knowing) == {"打": pytest.approx(0.4), "花": 1.0}


def test_difference_is_paired():
    better, worse = {"打": 0.9, "花": 0.2, "会": 0.7}, {"会": 0.6, "打": 0.8, "花": 0.1}
    assert eval_word_senses.difference(better, worse) == pytest.approx((0.1, 0.1, 0.1))


def test_interval():
    assert eval_word_senses.interval(np.full(40, 0.4)) == pytest.approx((0.4, 0.4))
    low, high = eval_word_senses.interval(np.tile([0.0, 1.0], 200))
    # the mean of 400 draws of 0 and 1 has a standard deviation of 0.025
    assert (low, high) == pytest.approx((0.451, 0.549), abs=0.004)


def test_a_word_that_is_not_there_once():
    for sentence in ("他打打球。", "他踢球。"):
        with pytest.raises(ValueError, match="not once"):
            eval_word_senses.place(Example("打", "hit", sentence))


def test_the_whole_table(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["eval_word_senses.py", "--words"])
    eval_word_senses.main()
    out = capsys.readouterr().out
    assert "600 occurrences of 100 words" in out
    lines = out.splitlines()
    scores = {
        line[:20].strip(): float(line[20:].split("%")[0]) for line in lines if " to " in line and "%" in line
    }
    # n-grams see a little of what the LSTMs do, and the rest of the sentence tells about the sense too
    assert 40 <= scores["layer 0"] < 50 < scores["layer 2"] < scores["layer 2 + context"]
    assert scores["static context"] > 50
    assert sum(line.startswith("苹果") for line in lines) == 1
    differences = {line[33:].strip(): float(line[:6]) for line in lines if line.endswith("layer 0")}
    gain = scores["layer 2"] - scores["layer 0"]
    assert differences == {"layer 2 - layer 0": pytest.approx(gain, abs=0.11)}

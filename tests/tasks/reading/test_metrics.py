"""EM, F1 and Rouge-L against cases computed by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo.tasks.reading.metrics import exact_match, f1_score, mixed_segmentation, rouge_l


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("范廷颂枢机", ["范", "廷", "颂", "枢", "机"]),
        (" 在2008年，用 Linux Kernel！", ["在", "2008", "年", "用", "linux", "kernel"]),
        ("《史记·项羽本纪》", ["史", "记", "项", "羽", "本", "纪"]),
        ("a-b", ["ab"]),  # a dropped sign does not end a word
        ("约3.14%", ["约", "3.14", "%"]),
        ("等……", ["等", "…", "…"]),  # the list's "……" is of two characters and never equals one
        ("他说‘好’", ["他", "说", "‘", "好"]),  # ‘ is not in the list, ’ is
        ("１９９８年", ["１９９８", "年"]),
        ("", []),
    ],
)
def test_units(text, units):
    assert mixed_segmentation(text) == units


def test_f1_counts_the_longest_contiguous_run():
    # 北京 is the longest run: 2 of 5 predicted, 2 of 4 right units; a bag of characters would have 4 of each.
    assert f1_score("北京大学在", ["学大北京"]) == pytest.approx(2 * (2 / 5) * (2 / 4) / (2 / 5 + 2 / 4))


def test_f1_is_the_best_over_the_answers():
    assert f1_score("北京大学", ["上海", "北京大学", "北京"]) == 1.0
    assert f1_score("北京大学", ["北京"]) == pytest.approx(2 * (2 / 4) / (1 + 2 / 4))
    assert f1_score("北京", ["上海"]) == 0.0
    assert f1_score("", ["上海"]) == 0.0
    assert f1_score("上海", []) == 0.0


def test_f1_drops_punctuation_and_case():
    assert f1_score("《Linux》，", ["linux"]) == 1.0


def test_exact_match_drops_punctuation_character_by_character():
    assert exact_match("“北京”。", ["北京"]) == 1.0
    assert exact_match("NBA 总冠军", ["nba 总冠军"]) == 1.0
    assert exact_match("NBA总冠军", ["nba 总冠军"]) == 0.0  # white space inside stays
    assert exact_match("北京!", ["北京"]) == 0.0  # the ASCII sign is not in the list
    assert exact_match("北京", ["上海", "北京"]) == 1.0


def test_rouge_l():
    # LCS of 北京大学 and 北大 is 2: precision 2/4, recall 2/2.
    expected = (1 + 1.44) * 0.5 * 1.0 / (1.0 + 1.44 * 0.5)
    assert rouge_l("北京大学", ["北大"]) == pytest.approx(expected)
    assert rouge_l("北 京", ["北京"]) == 1.0
    assert rouge_l("北京", ["上海"]) == 0.0
    assert rouge_l("", ["上海"]) == 0.0


def test_rouge_l_takes_the_best_precision_and_the_best_recall():
    # Against 北京大学: precision 2/2, recall 2/4; against 京: precision 1/2, recall 1/1. The best of each: 1.
    assert rouge_l("北京", ["北京大学", "京"]) == pytest.approx(1.0)


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=3))
def test_scores_are_shares(prediction, answers):
    for metric in (exact_match, f1_score, rouge_l):
        assert 0.0 <= metric(prediction, answers) <= 1.0 + 1e-12


@given(st.text(max_size=20))
def test_a_text_matches_itself(text):
    assert exact_match(text, [text]) == 1.0
    if mixed_segmentation(text):
        assert f1_score(text, [text]) == 1.0

"""The arithmetic of the comparison of lexical analyzers."""

from compare_lexical import f1, merge_names, of_words, scores
from spacy.tokens import DocBin
from test_comparison import script


def test_what_is_missing_is_one_sentence(tmp_path):
    DocBin().to_disk(tmp_path / "test.spacy")
    calls = {
        "No such file": [tmp_path / "nothing.spacy", tmp_path / "out.json", "--systems", ""],
        "Can't find model": [tmp_path / "test.spacy", tmp_path / "out.json", "--pipeline", f"a={tmp_path}/b"],
        "is not known": [tmp_path / "test.spacy", tmp_path / "out.json", "--systems", "lacc"],
    }
    for words, arguments in calls.items():
        done = script("compare_lexical", *arguments)
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_names_in_a_row_are_one_word():
    assert merge_names([(0, 1, "nr"), (1, 3, "nr"), (3, 4, "v")]) == [(0, 3, "nr"), (3, 4, "v")]


def test_words_and_entities():
    ours = of_words([("江", "nr"), ("泽民", "nr"), ("在", "p"), ("北京", "ns")])
    lac = of_words([("江泽民", "PER"), ("在", "p"), ("北京", "LOC")])
    assert ours == lac
    assert lac.entities == {(0, 3, "PER"), (4, 6, "LOC")}
    assert (3, 4, "p") in lac.words


def test_scores():
    gold = of_words([("江泽民", "nr"), ("在", "p"), ("北京", "ns")])
    other = of_words([("江泽民", "nr"), ("在", "v"), ("北", "n"), ("京", "n")])
    found = scores([gold], [other])
    assert found["words"] == 100 * 4 / 7
    assert found["tags"] == 100 * 2 / 7
    assert (found["PER"], found["LOC"], found["ORG"]) == (100.0, 0.0, 0.0)
    assert f1([set()], [set()]) == 0.0

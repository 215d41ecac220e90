"""`spacy elmo nearest`: what it shows, and what it says when there is nothing to show."""

import gzip
import re

import pytest
import spacy
from spacy.tokens import Doc

import spacy_elmo
from spacy_elmo.cli import nearest as module
from spacy_elmo.inference import loading

from .helpers import plain, run
from .test_errors import refused

QUERY = "我爱北京天安门。"
LINES = "天安门上太阳升。\n北京我爱。他去天安门，上北京天安门。\n\n天安门上太阳升。\n"
ROW = re.compile(r"^ *(-?\d\.\d{3})  ( *)(\S*)  (\S+)  (\S*)$", re.MULTILINE)


@pytest.fixture
def lines(tmp_path):
    (tmp_path / "lines.txt").write_text(LINES, encoding="utf8")
    return tmp_path / "lines.txt"


@pytest.fixture
def show(made, lines):
    """Similarities and occurrences (before, word, after) that the command shows."""

    def run_it(*args, sentence=QUERY, word="天安门", text=lines):
        result = run("nearest", sentence, word, text, "--model", made / "run" / "model", *args)
        assert result.exit_code == 0, result.output
        found = ROW.findall(result.output)
        return result.output, [(float(cosine), (before, it, after)) for cosine, _, before, it, after in found]

    return run_it


def test_each_occurrence_once_by_similarity(show):
    output, found = show()
    assert {where for _, where in found} == {
        ("", "天安门", "上太阳升。"),
        ("他去", "天安门", "，上北京天安门。"),
        ("他去天安门，上北京", "天安门", "。"),
    }
    cosines = [cosine for cosine, _ in found]
    assert cosines == sorted(cosines, reverse=True)
    assert "3 nearest of 4 occurrences in" in output
    assert "by layer 2 of model" in output
    assert "我爱北京  天安门  。" in output.splitlines()[0]


def test_words_stand_below_one_another(show):
    columns = set()
    for line in show()[0].splitlines()[:-1]:
        before = line[: line.index("  天安门  ")]
        columns.add(sum(2 if character > "\u2e80" else 1 for character in before))
    assert columns == {8 + module.CONTEXT}


@pytest.mark.parametrize(("layer", "index"), [("0", 0), ("1", 1), ("2", 2), ("mean", None)])
def test_similarity_is_that_of_tokens(show, made, layer, index):
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": str(made / "run" / "model")}})
    words = [["我爱北京", "天安门", "。"], ["天安门", "上太阳升。"]]
    one, other = (nlp(Doc(nlp.vocab, words=own, spaces=[False] * len(own))) for own in words)
    expected = spacy_elmo.similarity(one[1], other[0], index)
    found = {where: cosine for cosine, where in show("--layer", layer)[1]}
    assert found["", "天安门", "上太阳升。"] == pytest.approx(expected, abs=0.0006)


def test_not_more_than_asked(show):
    _, every = show()
    _, some = show("-n", "2")
    assert some == every[:2]


def test_batches_make_no_difference(show, monkeypatch):
    _, found = show()
    monkeypatch.setattr(module, "BATCH", 1)
    assert show()[1] == found


def test_the_chosen_occurrence(show):
    sentence = "他去天安门，上北京天安门。"  # in the text too: no neighbour of its own
    for number, own in (
        ("1", ("他去", "天安门", "，上北京天安门。")),
        ("2", ("他去天安门，上北京", "天安门", "。")),
    ):
        output, found = show("--occurrence", number, sentence=sentence)
        assert own not in [where for _, where in found]
        assert len(found) == 2
        assert "  ".join(own) in output.splitlines()[0]


def test_the_other_tokens_count_with_a_weight(show):
    _, alone = show()
    output, found = show("--sentence-weight", "1")
    assert "by layer 2 and 1 times the other tokens of model" in output
    assert {where for _, where in found} == {where for _, where in alone}
    assert [cosine for cosine, _ in found] != [cosine for cosine, _ in alone]
    assert show("--sentence-weight", "0")[1] == alone


def test_any_token(show):
    output, found = show("--all-tokens", "-n", "100", word="北")
    assert {where[1] for _, where in found} == set("天安门上太阳升。北京我爱他去，")
    assert len(found) == len({where for _, where in found}) == 8 + 5 + 13
    assert "26 nearest of 34 tokens in" in output


def test_any_token_of_a_segmenter(show):
    pytest.importorskip("jieba")
    _, found = show("--all-tokens", "--segmenter", "jieba", "-n", "100")
    assert "太阳升" in {where[1] for _, where in found} or "太阳" in {where[1] for _, where in found}
    assert "阳" not in {where[1] for _, where in found}


def test_several_files_also_packed(show, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt.gz").write_bytes(gzip.compress("天安门".encode()))
    (tmp_path / "folder" / "b.jsonl").write_text('{"text": "在天安门"}', encoding="utf8")
    _, found = show(text=tmp_path / "folder")
    assert {where for _, where in found} == {("", "天安门", ""), ("在", "天安门", "")}


def test_an_unknown_word_is_shown_with_a_warning(show, lines):
    lines.write_text("他囧了。", encoding="utf8")
    output, found = show(sentence="我囧。", word="囧")
    assert [where for _, where in found] == [("他", "囧", "了。")]
    assert "does not know 囧" in plain(output)


def test_the_embedded_model(lines):
    result = run("nearest", QUERY, "天安门", lines)
    assert result.exit_code == 0
    assert f"of {loading.BUNDLED_MODEL}" in result.output


def test_a_model_of_words(lines, tmp_path, made):
    pytest.importorskip("jieba")
    bilm = loading.load(made / "run" / "model")
    config = {**bilm.config.to_dict(), "units": "word", "segmenter": "jieba"}
    type(bilm)(type(bilm.config).from_dict(config), bilm.vocab).save(tmp_path / "words")
    for more in ((), ("--all-tokens",)):
        result = run("nearest", "我爱北京", "北京", lines, "--model", tmp_path / "words", *more)
        assert result.exit_code == 0, result.output
        assert ROW.findall(result.output)


def test_the_top_layer_of_joined_models(lines, tmp_path, made):
    known = loading.load(made / "run" / "model")
    switches = {"stacked_bidirectional": True, "has_softmax": False, "tie_softmax": False}
    config = type(known.config).from_dict({**known.config.to_dict(), **switches})
    type(known)(config, known.vocab).save(tmp_path / "stacked_bidirectional")
    result = run("nearest", "我爱北京", "北京", lines, "--model", tmp_path / "stacked_bidirectional")
    assert result.exit_code == 0, result.output
    assert "by layer 1 of stacked_bidirectional" in result.output


# what is wrong


def test_refusals(made, lines, tmp_path):
    twice = "他打球，我打字。"
    model = ["--model", made / "run" / "model"]

    def check(message, *args):
        refused(tmp_path, "nearest", *args, *model, message=message)

    check('"球" does not occur in the sentence', QUERY, "球", lines)
    check('"" does not occur in the sentence', QUERY, "", lines)
    check('"打" occurs 2 times in the sentence: choose one, --occurrence 1 to 2', twice, "打", lines)
    check("give an --occurrence of at most 2, not 3", twice, "打", lines, "--occurrence", 3)
    check(
        "occurs once in the sentence: give an --occurrence of at most 1, not 2",
        twice,
        "球",
        lines,
        "--occurrence",
        2,
    )
    check("--layer 3 is not known: use 0, 1, 2", QUERY, "爱", lines, "--layer", 3)
    check("--layer top is not known", QUERY, "爱", lines, "--layer", "top")
    check("--segmenter needs --all-tokens", QUERY, "爱", lines, "--segmenter", "jieba")
    check(
        '"scissors" of "zh" cannot be loaded', QUERY, "爱", lines, "--all-tokens", "--segmenter", "scissors"
    )
    check("The text", QUERY, "爱", tmp_path / "nowhere.txt")
    (tmp_path / "gb.txt").write_bytes("我爱你".encode("gb18030"))
    check("line 1 is not UTF-8", QUERY, "爱", tmp_path / "gb.txt")


def test_nothing_to_compare_with(made, tmp_path):
    model = ["--model", made / "run" / "model"]
    for text, word, more, message in (
        ("", "北京", [], 'has no "北京" except the one in the sentence'),
        ("上海。", "北京", [], 'has no "北京" except the one in the sentence'),
        (QUERY, "北京", [], 'has no "北京" except the one in the sentence'),
        ("\n", "北京", ["--all-tokens"], "has no other token"),
    ):
        (tmp_path / "text.txt").write_text(text, encoding="utf8")
        refused(tmp_path, "nearest", QUERY, word, tmp_path / "text.txt", *more, *model, message=message)


def test_a_model_that_is_none(lines, tmp_path):
    args = ["nearest", QUERY, "爱", lines, "--model", tmp_path / "nowhere"]
    refused(tmp_path, *args, message="The model folder")

"""Data in SQuAD's form as Examples."""

import json

import pytest
import spacy

from spacy_elmo.errors import ElmoError
from spacy_elmo.tasks.reading.annotations import get_questions
from spacy_elmo.tasks.reading.corpus import MAX_QUESTIONS, create_squad_corpus_v1, read_squad

CONTEXT = "张三在北京，李四也在北京。\r\n他们👍🏽喜欢ＮＢＡ。"


def write(path, qas, context=CONTEXT):
    data = [
        {"title": "t", "paragraphs": [{"context": c, "qas": q}]}
        for c, q in [(context, qas), ("王五在上海。", [qa("谁在上海", "王五", 0, "z")])]
    ]
    path.write_text(json.dumps({"version": "1", "data": data}, ensure_ascii=False), encoding="utf8")
    return path


def qa(question, answer, start, id="a"):
    return {"question": question, "id": id, "answers": [{"text": answer, "answer_start": start}]}


def load(path, **settings):
    return list(create_squad_corpus_v1(path, **settings)(spacy.blank("zh")))


def test_questions_and_spans(tmp_path):
    start = CONTEXT.index("ＮＢＡ")
    path = write(tmp_path / "d.json", [qa("他们喜欢什么", "ＮＢＡ", start)])
    (eg, _) = load(path)
    assert eg.reference.text == eg.predicted.text == CONTEXT
    assert [token.text for token in eg.predicted] == list(CONTEXT)
    (question,) = get_questions(eg.reference)
    assert question.answers == ("ＮＢＡ",)
    assert question.spans == ((start, start + 3),)
    (asked,) = get_questions(eg.predicted)
    assert (asked.text, asked.answers, asked.spans) == ("他们喜欢什么", (), ())


def test_a_wrong_offset_is_set_right(tmp_path):
    second = CONTEXT.rindex("北京")
    path = write(
        tmp_path / "d.json",
        [qa("在哪里", "北京", second + 2), qa("在哪里", "广州", 3), qa("在哪里", "北京", -1)],
    )
    spans = [question.spans for question in read_squad(path)[0][1]]
    assert spans == [((second, second + 2),), (), ((3, 5),)]


def test_impossible_questions(tmp_path):
    path = write(tmp_path / "d.json", [{"question": "谁", "id": "a", "answers": [], "is_impossible": True}])
    (question,) = read_squad(path)[0][1]
    assert question.is_impossible
    assert question.spans == ()


def test_limit_and_many_questions(tmp_path):
    path = write(tmp_path / "d.json", [qa("谁在北京", "张三", 0, str(i)) for i in range(3 * MAX_QUESTIONS)])
    assert [len(get_questions(eg.reference)) for eg in load(path)] == [MAX_QUESTIONS] * 3 + [1]
    assert sum(len(get_questions(eg.reference)) for eg in load(path, limit=5)) == 5


def test_negatives_are_questions_of_another_passage(tmp_path):
    path = write(tmp_path / "d.json", [qa("谁在北京", "张三", 0)])
    for eg in load(path, negatives=1.0):
        own, other = get_questions(eg.reference)
        assert own.spans
        assert other.is_impossible
        assert own.text != other.text
    assert [get_questions(eg.reference) for eg in load(path, negatives=0.5, seed=3)] == [
        get_questions(eg.reference) for eg in load(path, negatives=0.5, seed=3)
    ]
    with pytest.raises(ElmoError, match="negatives"):
        create_squad_corpus_v1(path, negatives=-1.0)


def test_wrong_files_are_told(tmp_path):
    with pytest.raises(ElmoError, match="does not exist"):
        load(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[1]", encoding="utf8")
    with pytest.raises(ElmoError, match="SQuAD format"):
        load(tmp_path / "list.json")
    half = [{"paragraphs": [{"context": "甲乙", "qas": [{"question": "\ud800", "answers": []}]}]}]
    (tmp_path / "half.json").write_text(json.dumps({"data": half}), encoding="utf8")
    with pytest.raises(ElmoError, match="SQuAD format"):
        load(tmp_path / "half.json")

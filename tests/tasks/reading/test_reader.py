"""The component: learns, answers, refuses; offsets in any text, windows, batches."""

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.training import Example

from spacy_elmo.errors import ElmoError
from spacy_elmo.tasks.reading.annotations import Question, get_answers, get_questions, set_questions
from spacy_elmo.tasks.reading.features import character_doc

from .helpers import (
    BASELINE,
    LISTENER,
    N_QUESTIONS,
    PASSAGES,
    WITH_ELMO,
    all_answers,
    blank,
    examples,
    train,
)


@pytest.mark.parametrize("pipeline", ["trained", "trained_elmo"])
def test_learns_its_questions_by_heart(pipeline, request):
    nlp = request.getfixturevalue(pipeline)
    assert N_QUESTIONS == 20
    scores = nlp.evaluate(examples(nlp))
    assert scores["answer_em"] > 0.95
    assert scores["answer_f"] > 0.95
    assert scores["answer_rouge_l"] > 0.95


def test_the_mixes_learn_and_the_bilm_does_not(trained_elmo):
    mixes = [node for node in trained_elmo.get_pipe("reader").model.walk() if node.name == "elmo-scalar-mix"]
    assert len(mixes) == 2
    assert all(np.abs(mix.get_param("w")).max() > 0 for mix in mixes)
    assert not np.array_equal(mixes[0].get_param("w"), mixes[1].get_param("w"))


@pytest.mark.parametrize(("text", "pairs"), PASSAGES, ids=[text[:4] for text, _ in PASSAGES])
def test_offsets(trained_elmo, text, pairs):
    reader = trained_elmo.get_pipe("reader")
    for question, right in pairs:
        (answer,) = reader.answer(question, text)
        assert answer.text == right == text[answer.start : answer.end]
        assert (answer.token_start, answer.token_end) == (answer.start, answer.end)
        assert 0.0 < answer.score <= 1.0


@pytest.mark.parametrize("segmenter", ["characters", "halves", "one token"])
def test_a_doc_of_any_segmenter_is_read_as_its_characters(trained_elmo, segmenter):
    text, pairs = PASSAGES[3]
    cuts = {"characters": list(text), "halves": [text[:9], text[9:]], "one token": [text]}[segmenter]
    doc = Doc(trained_elmo.vocab, words=cuts, spaces=[False] * len(cuts))
    reader = trained_elmo.get_pipe("reader")
    for question, _ in pairs:
        (answer,) = reader.answer(question, doc)
        (plain,) = reader.answer(question, text)
        assert (answer.text, answer.start, answer.end) == (plain.text, plain.start, plain.end)
        assert answer.score == pytest.approx(plain.score, abs=1e-4)
        span = doc[answer.token_start : answer.token_end]
        assert span.start_char <= answer.start < answer.end <= span.end_char
        assert (span.start_char, span.end_char) == (answer.start, answer.end) or segmenter != "characters"


def test_same_answer_in_any_batch(trained_elmo):
    """The scores depend on the batch by rounding alone."""
    reader = trained_elmo.get_pipe("reader")
    together = iter(all_answers(trained_elmo))
    for text, asked in PASSAGES:
        for question, _ in asked:
            batched, (alone,) = next(together), reader.answer_batch([(question, text)], 2)
            assert [(a.start, a.end) for a in batched] == [(a.start, a.end) for a in alone]
            assert [a.score for a in batched] == pytest.approx([a.score for a in alone], abs=1e-5)
            assert batched.no_answer == pytest.approx(alone.no_answer, abs=1e-5)


def test_top_k(trained):
    text, asked = PASSAGES[7]
    answers = trained.get_pipe("reader").answer(asked[0][0], text, top_k=4)
    assert 1 < len(answers) <= 4
    assert [a.score for a in answers] == sorted((a.score for a in answers), reverse=True)
    taken = [i for a in answers for i in range(a.start, a.end)]
    assert len(taken) == len(set(taken)), "none overlaps another"
    assert sum(a.score for a in answers) + answers.no_answer <= 1.0 + 1e-6
    with pytest.raises(ValueError, match="at least 1"):
        trained.get_pipe("reader").answer("谁", text, top_k=0)


@pytest.mark.parametrize(
    ("question", "passage"), [("谁", ""), ("谁", " \n"), ("", "张三"), (" ", "张三"), ("", "")]
)
def test_empty_texts_have_no_answer(trained_elmo, question, passage):
    answers = trained_elmo.get_pipe("reader").answer(question, passage)
    assert answers == []
    assert answers.no_answer == 1.0


def test_question_longer_than_the_passage(trained_elmo):
    answers = trained_elmo.get_pipe("reader").answer("谁在北京大学学习物理？" * 20, "张三")
    assert answers.no_answer <= 1.0
    assert all(answer.text in "张三" for answer in answers)


def test_answers_at_the_very_ends():
    nlp = blank()
    data = []
    for text in ("甲乙丙丁", "甲子丑丁"):
        reference, predicted = (character_doc(nlp.vocab, text) for _ in range(2))
        spans = {"头": (0, 1), "尾": (3, 4), "全": (0, 4)}
        set_questions(reference, [Question(text, spans=(span,)) for text, span in spans.items()])
        data.append(Example(predicted, reference))
    train(nlp, 40, data=data)
    reader = nlp.get_pipe("reader")
    found = [reader.answer(question, "甲乙丙丁")[0] for question in ("头", "尾", "全")]
    assert [(a.start, a.end) for a in found] == [(0, 1), (3, 4), (0, 4)]


def test_white_space_neither_begins_nor_ends_an_answer(trained):
    for answer in trained.get_pipe("reader").answer("谁", " \n张 三\t ", top_k=20):
        assert answer.text == answer.text.strip() != ""


def test_longest_answer(trained):
    reader = blank(max_answer_length=2).get_pipe("reader")
    reader.model = trained.get_pipe("reader").model
    text, asked = PASSAGES[2]
    assert all(len(a.text) <= 2 for a in reader.answer(asked[0][0], text, top_k=20))


def test_several_windows():
    """All passages as one: the windows without the answer learn to refuse, that with it has its offsets."""
    passages = PASSAGES[:5]
    text = "".join(text for text, _ in passages)
    nlp = blank(window=50, stride=25)
    reference, predicted = (character_doc(nlp.vocab, text) for _ in range(2))
    asked, begin = [], 0
    for passage, pairs in passages:
        starts = [begin + passage.index(answer) for _, answer in pairs]
        spans = [(start, start + len(answer)) for start, (_, answer) in zip(starts, pairs, strict=True)]
        asked += [Question(q, (answer,), (span,)) for (q, answer), span in zip(pairs, spans, strict=True)]
        begin += len(passage)
    set_questions(reference, asked)
    train(nlp, 120, data=[Example(predicted, reference)])
    reader = nlp.get_pipe("reader")
    found = [reader.answer(question.text, text, top_k=3) for question in asked]
    right = [(a[0].start, a[0].end) == q.spans[0] for a, q in zip(found, asked, strict=True) if a]
    assert sum(right) >= 8, len(asked)
    for answers in found:
        taken = [i for a in answers for i in range(a.start, a.end)]
        assert len(taken) == len(set(taken)), "what two windows find is told once"


def test_unanswerable():
    nlp = blank()
    data = examples(nlp)
    asked = [get_questions(eg.reference) for eg in data]
    for eg, own, others in zip(data, asked, asked[1:] + asked[:1], strict=True):
        # Two questions of the next passage have no answer in this one.
        own = own + [Question(question.text, is_impossible=True) for question in others[:2]]
        set_questions(eg.reference, own)
        set_questions(eg.predicted, [question.text for question in own])
    train(nlp, 80, data=data)
    scores = nlp.evaluate(data)
    assert scores["no_answer_acc"] > 0.9
    assert scores["answer_em"] > 0.75
    reader = nlp.get_pipe("reader")
    question, passage = PASSAGES[1][1][0][0], PASSAGES[0][0]
    refused = reader.answer(question, passage)
    assert refused == []
    assert refused.no_answer > 0.5
    reader.threshold = 1.0
    assert len(reader.answer(question, passage)) == 1, "with threshold 1 it always answers"
    calibrated = reader.calibrate(data)
    assert calibrated == reader.calibration
    assert calibrated.temperature > 0


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=30), st.text(max_size=10))
def test_any_text_gets_answers_of_its_own(trained, passage, question):
    for answer in trained.get_pipe("reader").answer(question, passage, top_k=3):
        assert answer.text == passage[answer.start : answer.end]
        assert answer.text.strip()


def test_attention(trained_elmo):
    reader = trained_elmo.get_pipe("reader")
    text, asked = PASSAGES[0]
    weights = reader.attention(asked[0][0], text)
    assert weights.shape == (len(text), len(asked[0][0]))
    np.testing.assert_allclose(weights.sum(1), 1.0, rtol=1e-5)
    with pytest.raises(ValueError, match="of 1 to"):
        reader.attention("谁", "")


def test_pipe_answers_the_questions_of_docs(trained_elmo):
    docs = [trained_elmo.make_doc(text) for text, _ in PASSAGES]
    for doc, (_, asked) in zip(docs, PASSAGES, strict=True):
        set_questions(doc, [question for question, _ in asked])
    for doc, (_, asked) in zip(trained_elmo.pipe([*docs, "没有问题"]), PASSAGES, strict=False):
        assert [own[0].text for own in get_answers(doc)] == [right for _, right in asked]
    assert get_answers(trained_elmo("没有问题")) == []


def test_the_last_passages_follow_a_renamed_elmo(bilm):
    nlp = blank(WITH_ELMO, bilm=bilm)
    train(nlp, 2)
    passage, asked = PASSAGES[0]
    expected = nlp.get_pipe("reader").answer(asked[0][0], passage)
    nlp.rename_pipe("elmo", "other")
    assert nlp.get_pipe("reader").answer(asked[0][0], passage) == expected


def test_the_last_passages_do_not_outlive_a_memory_zone(bilm):
    """A Doc of a memory zone loses its strings at the end of the zone."""
    lexicon = {"@architectures": "spacy-elmo.LexiconFeatures.v1"}
    tok2vec = {"@layers": "concatenate.v1", "*": {"elmo": LISTENER, "lexicon": lexicon}}
    nlp = blank({**BASELINE, "tok2vec": tok2vec}, bilm=bilm)
    train(nlp, 2)
    reader = nlp.get_pipe("reader")
    passage = (
        "".join(chr(0x20000 + i) for i in range(50)) + PASSAGES[0][0]
    )  # characters that are new to the vocab
    question = PASSAGES[0][1][0][0]
    with nlp.memory_zone():
        expected = reader.answer(question, passage)
    with nlp.memory_zone():
        nlp.make_doc("".join(chr(0x30000 + i) for i in range(4000)))
    assert reader.answer(question, passage) == expected


def test_questions_that_cannot_be_meant_are_refused():
    doc = spacy.blank("zh")("张三在北京。")
    with pytest.raises(ElmoError, match="Give a list of questions, not the string '谁在北京'"):
        set_questions(doc, "谁在北京")
    with pytest.raises(ElmoError, match="are one string: give a list"):
        set_questions(doc, [Question("谁", "张三", ((0, 2),))])
    for span in ((2, 0), (0, 0), (5, 7), (-1, 2)):
        with pytest.raises(ElmoError, match=r"is not inside the Doc, which has 6 characters"):
            set_questions(doc, [Question("谁", ("张三",), (span,))])


def test_new_questions_remove_old_answers(trained_elmo):
    doc = trained_elmo.make_doc(PASSAGES[0][0])
    set_questions(doc, [PASSAGES[0][1][0][0]])
    doc = trained_elmo(doc)
    assert get_answers(doc)
    set_questions(doc, [])
    assert get_answers(trained_elmo(doc)) == []


def test_the_scorer_refuses_other_questions(trained_elmo):
    (example, *_) = examples(trained_elmo)
    plain = trained_elmo.make_doc(example.reference.text)
    for pair in ((plain, example.reference), (example.reference, plain)):
        with pytest.raises(ValueError, match="set the same on both"):
            trained_elmo.evaluate([Example(*pair)])


def test_a_second_initialization_draws_the_weights_again(bilm):
    nlp = blank(WITH_ELMO, bilm=bilm)
    losses = []
    for _ in range(2):
        spacy.util.fix_random_seed(0)
        losses.append(train(nlp, 2))
    assert losses[0] == losses[1]


def test_what_is_missing_is_told():
    with pytest.raises(ValueError, match="not initialized"):
        blank().get_pipe("reader").answer("谁", "张三")
    with pytest.raises(ValueError, match="stride"):
        blank(window=5, stride=6)
    with pytest.raises(ValueError, match="max_answer_length"):
        blank(max_answer_length=0)
    nlp = spacy.blank("zh")
    nlp.add_pipe("reader")
    with pytest.raises(ValueError, match='add the component "elmo"'):
        nlp.initialize(lambda: examples(nlp))

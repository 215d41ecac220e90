"""Which windows a reader is trained on."""

import random

import spacy
from spacy.training import Example

from spacy_elmo.tasks.reading.annotations import Question, set_questions
from spacy_elmo.tasks.reading.features import character_doc
from spacy_elmo.tasks.reading.passages import CharacterDocs
from spacy_elmo.tasks.reading.training import make_training_batch

TEXT = "".join(chr(0x4E00 + i) for i in range(25))
SHORT = TEXT[:4]


def batch_of(*passages, unanswered):
    """Windows of 10 characters, 5 apart."""
    nlp = spacy.blank("zh")
    examples = []
    for text, questions in passages:
        reference = character_doc(nlp.vocab, text)
        set_questions(reference, questions)
        examples.append(Example(character_doc(nlp.vocab, text), reference))
    random.seed(0)
    docs = CharacterDocs()
    return make_training_batch(
        examples, vocab=nlp.vocab, docs=docs, window=10, stride=5, unanswered=unanswered
    )


def test_one_window_with_the_answer():
    questions = [Question(f"问{i}", spans=((i, i + 2),)) for i in range(0, 23, 3)]
    batch, targets = batch_of((TEXT, questions), unanswered=0.0)
    assert [q for _, q in batch.pairs] == list(range(len(questions)))
    for (w, q), ((start, end),) in zip(batch.pairs, targets, strict=True):
        window = batch.windows[w]
        assert (window.start + start, window.start + end) == questions[q].spans[0]
        assert end <= window.end - window.start == 10
    assert len(set(batch.windows)) == len(batch.windows)


def test_windows_without_the_answer():
    """The answer lies in one window of four: the others teach to refuse."""
    batch, targets = batch_of((TEXT, [Question("问", spans=((0, 2),))]), unanswered=1.0)
    assert [(window.start, window.end) for window in batch.windows] == [(0, 10), (5, 15), (10, 20), (15, 25)]
    assert targets == [[(0, 2)], [], [], []]


def test_questions_without_a_window_that_has_the_answer():
    """The impossible one is refused somewhere; to refuse the one with the long answer would be wrong."""
    questions = [Question("无", is_impossible=True), Question("长", spans=((2, 22),)), Question("不知")]
    batch, targets = batch_of((TEXT, questions), unanswered=0.0)
    assert batch.question_texts == ["无"]
    assert targets == [[]]


def test_the_longest_passages_come_first():
    asked = [Question("问", spans=((0, 1),))]
    batch, _ = batch_of((SHORT, asked), (TEXT, asked), ("", [Question("问")]), unanswered=0.0)
    assert batch.passage_texts == [TEXT, SHORT]
    lengths = [batch.windows[w].end - batch.windows[w].start for w, _ in batch.pairs]
    assert lengths == sorted(lengths, reverse=True)

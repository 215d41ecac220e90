"""Score a reader's answers: EM, F1 and Rouge-L, and the accuracy of "no answer"."""

from collections.abc import Callable, Iterable
from typing import Any

from spacy.training import Example

from .annotations import Answers, Question, get_answers, get_questions
from .metrics import exact_match, f1_score, rouge_l


def create_reader_scorer_v1() -> Callable[..., dict[str, Any]]:
    """Create spacy-elmo.reader_scorer.v1."""
    return score_reader


def score_reader(examples: Iterable[Example], **kwargs: Any) -> dict[str, float | None]:
    """Score the predicted Docs' answers to the questions of the reference Docs.

    answer_em, answer_f, answer_rouge_l: means over the questions with an answer, see metrics; an unanswered
    question counts as 0. no_answer_acc: share of all questions for which the reader is right whether there is
    an answer; None if every question has one. All are None without questions.
    """
    answered = [(question, found) for eg in examples for question, found in _pairs(eg)]
    possible = [(q, found) for q, found in answered if not q.is_impossible]
    scores: dict[str, float | None] = {}
    for name, metric in (("answer_em", exact_match), ("answer_f", f1_score), ("answer_rouge_l", rouge_l)):
        values = [metric(found[0].text, q.answers) if found else 0.0 for q, found in possible]
        scores[name] = sum(values) / len(values) if values else None
    right = [bool(found) != q.is_impossible for q, found in answered]
    scores["no_answer_acc"] = sum(right) / len(right) if len(possible) < len(answered) else None
    return scores


def _pairs(example: Example) -> list[tuple[Question, Answers]]:
    """Return the questions with known answers, each with the predicted answers.

    Raises a ValueError if the predicted Doc has other questions.
    """
    questions, asked = get_questions(example.reference), get_questions(example.predicted)
    if [q.text for q in asked] != [q.text for q in questions]:
        raise ValueError(
            f"The questions of the predicted Doc ({len(asked)}) are not those of the reference Doc "
            f"({len(questions)}): set the same on both with set_questions."
        )
    found = get_answers(example.predicted) or [Answers() for _ in questions]
    known = zip(questions, found, strict=True)
    return [(question, gold) for question, gold in known if question.answers or question.is_impossible]

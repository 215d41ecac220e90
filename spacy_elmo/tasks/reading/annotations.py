"""Questions with known answers, and predicted answers, on a Doc.

They are plain values in `doc.user_data`, so they survive `n_process`, `doc.to_bytes()` and
`DocBin(store_user_data=True)`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spacy.tokens import Doc

from ...errors import ElmoError

QUESTIONS_KEY = "spacy_elmo.questions"
ANSWERS_KEY = "spacy_elmo.answers"


@dataclass(frozen=True)
class Question:
    """A question about a Doc."""

    text: str
    answers: tuple[str, ...] = ()
    """Texts that count as correct; none: unknown, or there is no answer."""
    spans: tuple[tuple[int, int], ...] = ()
    """Character offsets (start, end) of correct answers in the Doc."""
    is_impossible: bool = False
    """Whether the question is known to have no answer in the Doc."""
    id: str = ""


@dataclass(frozen=True)
class Answer:
    """A span of a passage that answers a question."""

    text: str
    start: int
    """Offset of its first character."""
    end: int
    """Offset after its last character."""
    score: float
    """Probability among all spans and "no answer"; see Reader.calibrate."""
    token_start: int
    """Index of its first token. The tokens of a passage given as a string are its characters."""
    token_end: int
    """Index after its last token."""


class Answers(list[Answer]):
    """Answers to one question, best first. Empty if it is too probable that there is none."""

    def __init__(self, answers: Iterable[Answer] = (), no_answer: float = 0.0):
        super().__init__(answers)
        self.no_answer = no_answer
        """Probability that the passage does not answer the question, from 0 to 1."""

    def __repr__(self) -> str:
        return f"Answers({list(self)!r}, no_answer={self.no_answer:.3f})"


def set_questions(doc: Doc, questions: Sequence[str | Question]) -> None:
    """Set the questions that a reader answers when its pipeline runs on the Doc, see get_answers.

    Answers to earlier questions are removed. Raises an ElmoError if `questions` is one string, if the answers
    of a Question are, or if a span is not inside the Doc.
    """
    if isinstance(questions, str):
        raise ElmoError(f"Give a list of questions, not the string {questions!r}.")
    entries = [Question(question) if isinstance(question, str) else question for question in questions]
    length = len(doc.text)
    for entry in entries:
        if isinstance(entry.answers, str):
            raise ElmoError(f"The answers of the question {entry.text!r} are one string: give a list.")
        for start, end in entry.spans:
            if not 0 <= start < end <= length:
                raise ElmoError(
                    f"The answer ({start}, {end}) of the question {entry.text!r} is not inside the Doc, "
                    f"which has {length} characters."
                )
    _user_data(doc)[QUESTIONS_KEY] = [asdict(entry) for entry in entries]
    _user_data(doc).pop(ANSWERS_KEY, None)


def get_questions(doc: Doc) -> list[Question]:
    """Return the questions of a Doc, in order."""
    return [
        Question(
            text=entry["text"],
            answers=tuple(entry["answers"]),
            spans=tuple((start, end) for start, end in entry["spans"]),
            is_impossible=entry["is_impossible"],
            id=entry["id"],
        )
        for entry in _user_data(doc).get(QUESTIONS_KEY, ())
    ]


def set_answers(doc: Doc, answers: Sequence[Answers]) -> None:
    """Set the answers to the Doc's questions."""
    entries = [
        {"no_answer": answers_of_one.no_answer, "answers": [asdict(a) for a in answers_of_one]}
        for answers_of_one in answers
    ]
    _user_data(doc)[ANSWERS_KEY] = entries


def get_answers(doc: Doc) -> list[Answers]:
    """Return the answers to the Doc's questions, in their order; empty if no reader has run on it."""
    return [
        Answers((Answer(**answer) for answer in entry["answers"]), entry["no_answer"])
        for entry in _user_data(doc).get(ANSWERS_KEY, ())
    ]


def _user_data(doc: Doc) -> dict[Any, Any]:
    return doc.user_data  # spaCy's type stub declares keys of another form

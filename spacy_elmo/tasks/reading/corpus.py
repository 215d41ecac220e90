"""Read question answering data in SQuAD's JSON format (CMRC 2018, DRCD, SQuAD 1 and 2) as Examples."""

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.training import Example

from ...errors import ElmoError
from ...json_text import parse_json
from .annotations import Question, set_questions
from .features import character_doc

MAX_QUESTIONS = 8  # per Example: a passage with more becomes several Examples, so that batches are bounded


def create_squad_corpus_v1(
    path: str | Path, limit: int = 0, negatives: float = 0.0, seed: int = 0
) -> Callable[[Language], Iterable[Example]]:
    """Create spacy-elmo.SquadCorpus.v1, a corpus reader with one Example for each passage.

    Args:
        path: A JSON file in SQuAD format.
        limit: Number of questions to read, drawn passage by passage; 0: all.
        negatives: Number of questions from another passage per question of a passage. They have no answer in
            this passage, so that the reader learns to refuse.
        seed: Seed of the random draws.

    Raises:
        ElmoError: negatives is negative. Reading a file in another format also raises it.
    """
    if negatives < 0:
        raise ElmoError(f"negatives = {negatives} is negative: give 0 or more.")
    return SquadCorpus(path, limit=limit, negatives=negatives, seed=seed)


class SquadCorpus:
    """Corpus reader, see create_squad_corpus_v1."""

    def __init__(self, path: str | Path, *, limit: int = 0, negatives: float = 0.0, seed: int = 0):
        self.path = Path(path)
        self.limit = limit
        self.negatives = negatives
        self.seed = seed

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Yield the Examples. Each character of their Docs is a token, regardless of the tokenizer."""
        paragraphs = self._limited(read_squad(self.path))
        for (context, questions), negatives in zip(paragraphs, self._negatives(paragraphs), strict=True):
            asked = [*questions, *negatives]
            for i in range(0, len(asked), MAX_QUESTIONS):
                some = asked[i : i + MAX_QUESTIONS]
                predicted, reference = (character_doc(nlp.vocab, context) for _ in range(2))
                set_questions(predicted, [Question(question.text, id=question.id) for question in some])
                set_questions(reference, some)
                yield Example(predicted, reference)

    def _limited(self, paragraphs: list["Paragraph"]) -> list["Paragraph"]:
        if not self.limit:
            return paragraphs
        random.Random(self.seed).shuffle(paragraphs)
        limited: list[Paragraph] = []
        left = self.limit
        for context, questions in paragraphs:
            if left <= 0:
                break
            limited.append((context, questions[:left]))
            left -= len(questions)
        return limited

    def _negatives(self, paragraphs: list["Paragraph"]) -> list[list[Question]]:
        """Return, for each passage, questions of the next passage in a random order."""
        rng = random.Random(self.seed)
        order = list(range(len(paragraphs)))
        rng.shuffle(order)
        negatives: list[list[Question]] = [[] for _ in paragraphs]
        for i, j in zip(order, order[1:] + order[:1], strict=True):
            own, others = paragraphs[i][1], paragraphs[j][1]
            wanted = len(own) * self.negatives
            count = min(int(wanted) + (rng.random() < wanted % 1), len(others))
            if i != j and paragraphs[i][0] != paragraphs[j][0]:
                drawn = rng.sample(others, count)
                negatives[i] = [Question(q.text, is_impossible=True, id=q.id) for q in drawn]
        return negatives


Paragraph = tuple[str, list[Question]]


def read_squad(path: str | Path) -> list[Paragraph]:
    """Read the passages of a file with their questions, in order.

    An answer with a wrong offset (CMRC 2018 has some) is searched in its passage. If it is not found, its
    text still counts as an answer, but there is no span to learn.
    """
    try:
        data = parse_json(Path(path).read_bytes())["data"]
        return [
            (paragraph["context"], [_question(paragraph["context"], qa) for qa in paragraph["qas"]])
            for article in data
            for paragraph in article["paragraphs"]
        ]
    except FileNotFoundError:
        raise ElmoError(f"The file {path} does not exist: give a JSON file in SQuAD format.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ElmoError(f"{path} is not in SQuAD format ({error!r}): see docs/reading.md.") from error


def _question(context: str, qa: dict[str, Any]) -> Question:
    answers = tuple(dict.fromkeys(answer["text"] for answer in qa.get("answers", ())))
    spans = [_span(context, answer["text"], answer["answer_start"]) for answer in qa.get("answers", ())]
    known = tuple(dict.fromkeys(span for span in spans if span is not None))
    impossible = bool(qa.get("is_impossible", False))
    return Question(qa["question"], answers, known, impossible, str(qa.get("id", "")))


def _span(context: str, text: str, start: int) -> tuple[int, int] | None:
    """Return the span of an answer: at its offset, or else the nearest occurrence."""
    if not text:
        return None
    if start < 0 or context[start : start + len(text)] != text:
        starts = [i for i in range(len(context)) if context.startswith(text, i)]
        if not starts:
            return None
        start = min(starts, key=lambda i: abs(i - start))
    return start, start + len(text)

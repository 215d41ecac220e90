"""Convert Examples to a batch of windows and questions with the correct spans."""

import random
from collections.abc import Sequence

from spacy.training import Example
from spacy.vocab import Vocab

from .annotations import Question, get_questions
from .features import Batch, Window, split_windows
from .passages import CharacterDocs


def make_training_batch(
    examples: Sequence[Example],
    *,
    vocab: Vocab,
    docs: CharacterDocs,
    window: int,
    stride: int,
    unanswered: float = 0.2,
) -> tuple[Batch, list[list[tuple[int, int]]]]:
    """Return a batch of windows of the Examples' passages with their questions, and the correct spans.

    Each question is paired with one random window that contains its answer, and with each other window with
    probability `unanswered`. The second result holds, for each pair, the correct spans inside the window; if
    it is empty, "no answer" is correct. Three kinds of questions are skipped: without known answers, with an
    answer in no window, and of only white space. The longest passages come first, so that the native kernel
    can skip their padding.
    """
    batch = Batch()
    targets: list[list[tuple[int, int]]] = []
    texts = batch.question_texts
    for eg in sorted(examples, key=lambda eg: -len(eg.reference.text)):
        questions = [
            q for q in get_questions(eg.reference) if (q.spans or q.is_impossible) and q.text.strip()
        ]
        text = eg.reference.text
        cuts = split_windows(len(text), window, stride)
        read = {q: _draw_windows(q, cuts, unanswered) for q in questions if cuts}
        if not any(read.values()):
            continue
        ready = docs.is_ready(eg.predicted)
        doc = eg.predicted if ready else docs.make(vocab, [text], is_train=True)[0]
        batch.passages.append(doc)
        batch.passage_texts.append(text)
        numbers: dict[int, int] = {}  # index of a cut -> index of its window in the batch
        for question in questions:
            if not read[question]:
                continue
            texts.append(question.text)
            for i in read[question]:
                if i not in numbers:
                    numbers[i] = len(batch.windows)
                    batch.windows.append(Window(len(batch.passages) - 1, *cuts[i]))
                batch.pairs.append((numbers[i], len(texts) - 1))
                targets.append(_inside(question, batch.windows[numbers[i]]))
    batch.questions = docs.make(vocab, texts, is_train=True) if texts else []
    return batch, targets


def _draw_windows(question: Question, cuts: Sequence[tuple[int, int]], unanswered: float) -> list[int]:
    """Return the indices of the windows with which a question is paired."""
    with_answer = [
        i
        for i, (first, after) in enumerate(cuts)
        if any(first <= start and end <= after for start, end in question.spans)
    ]
    without = [i for i in range(len(cuts)) if i not in with_answer]
    if not with_answer and not question.is_impossible:
        return []  # its answer is too long, and "no answer" would be wrong
    random.shuffle(without)
    first = random.choice(with_answer) if with_answer else without.pop()
    return sorted([first, *(i for i in without if random.random() < unanswered)])


def _inside(question: Question, window: Window) -> list[tuple[int, int]]:
    """Return the correct spans inside a window, as offsets in the window."""
    spans = [(start - window.start, end - window.start) for start, end in question.spans]
    return [(start, end) for start, end in spans if 0 <= start < end <= window.end - window.start]

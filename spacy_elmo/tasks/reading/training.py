"""From Examples to a batch of windows and questions with the spans that are right."""

from collections.abc import Sequence

from spacy.training import Example
from spacy.vocab import Vocab

from .annotations import Question, get_questions
from .features import Batch, Window, split_windows
from .passages import CharacterDocs


def make_training_batch(
    examples: Sequence[Example], *, vocab: Vocab, docs: CharacterDocs, window: int, stride: int
) -> tuple[Batch, list[list[tuple[int, int]]]]:
    """A batch of all windows of each Example's passage with all its questions.

    Returns the batch and, for each pair, the right spans inside of the window; none: "no answer" is right
    there. Questions of which nothing is known are left out, and those that are only white space.
    """
    batch = Batch()
    targets: list[list[tuple[int, int]]] = []
    texts = batch.question_texts
    for eg in examples:
        questions = [
            q for q in get_questions(eg.reference) if (q.spans or q.is_impossible) and q.text.strip()
        ]
        text = eg.reference.text
        cuts = split_windows(len(text), window, stride)
        if not questions or not cuts:
            continue
        ready = docs.is_ready(eg.predicted)
        doc = eg.predicted if ready else docs.make(vocab, [text], is_train=True)[0]
        batch.passages.append(doc)
        batch.passage_texts.append(text)
        windows = range(len(batch.windows), len(batch.windows) + len(cuts))
        batch.windows += [Window(len(batch.passages) - 1, *cut) for cut in cuts]
        for question in questions:
            texts.append(question.text)
            for w in windows:
                batch.pairs.append((w, len(texts) - 1))
                targets.append(_inside(question, batch.windows[w]))
    batch.questions = docs.make(vocab, texts, is_train=True) if texts else []
    return batch, targets


def _inside(question: Question, window: Window) -> list[tuple[int, int]]:
    """The right spans that lie in a window, as offsets into it."""
    spans = [(start - window.start, end - window.start) for start, end in question.spans]
    return [(start, end) for start, end in spans if 0 <= start < end <= window.end - window.start]

"""Score pairs of questions and passages in batches of similar length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ...batching import minibatch_by_size
from .decoding import Calibration, SpanProbability, WindowScores, best_spans, merge_windows, span_scores
from .features import Batch, Window, split_windows
from .network import SpanScores
from .passages import CharacterDocs

GROUP_CHARACTERS = 16384  # characters of passages in memory together: 100 MB of vectors (bundled model)
BATCH_CHARACTERS = 16384  # characters of a batch of windows, including padding

Windows = list[tuple[int, WindowScores]]  # windows of a pair: offset in the passage, scores


@dataclass
class Pair:
    """A question and a passage, a string or a Doc."""

    question: str
    passage: str | Doc

    def __post_init__(self) -> None:
        self.text = self.passage if isinstance(self.passage, str) else self.passage.text

    def tokens(self, start: int, end: int) -> tuple[int, int]:
        """Return the tokens that the characters from start to end touch.

        The tokens of a string are its characters.
        """
        if isinstance(self.passage, str):
            return start, end
        span = self.passage.char_span(start, end, alignment_mode="expand")
        assert span is not None  # the offsets are inside the passage
        return span.start, span.end


@dataclass(frozen=True)
class PairScorer:
    """Scores the spans of passages that may answer questions.

    predict: the model. window, stride: length and distance of windows of a passage, in characters.
    max_length: largest length of an answer. length_scores: added to the score of a span by its length, see
    decoding.
    """

    vocab: Vocab
    docs: CharacterDocs
    predict: Callable[[Batch], SpanScores]
    window: int
    stride: int
    max_length: int
    length_scores: Sequence[float] = ()

    def __call__(self, pairs: Sequence[Pair]) -> Iterator[Windows]:
        """Yield the windows of each pair with their scores, in order; none for an empty passage or question.

        Scores depend on the other pairs only by rounding: about 1e-5 of a logit.
        """
        for group in _groups(pairs):
            scored = self._score_group(group)
            for i in range(len(group)):
                yield scored.get(i, [])

    def _score_group(self, pairs: Sequence[Pair]) -> dict[int, Windows]:
        readable = [i for i, pair in enumerate(pairs) if pair.text.strip() and pair.question.strip()]
        if not readable:
            return {}
        passages = _passage_docs([pairs[i] for i in readable], self.vocab, self.docs)
        questions = list(dict.fromkeys(pairs[i].question for i in readable))
        question_docs = dict(zip(questions, self.docs.make(self.vocab, questions), strict=True))
        jobs = [
            (i, cut) for i in readable for cut in split_windows(len(pairs[i].text), self.window, self.stride)
        ]  # one job per pair and window
        longest_first = sorted(jobs, key=lambda job: (-_length(job), job))
        found: dict[tuple[int, int], WindowScores] = {}
        for some in minibatch_by_size(longest_first, BATCH_CHARACTERS, _length, padded=True):
            cuts = [(pairs[i].text, pairs[i].question, cut) for i, cut in some]
            scores = self.predict(_make_batch(cuts, passages, question_docs))
            for row, (i, cut) in enumerate(some):
                found[i, cut[0]] = self._scores_of(scores, row, pairs[i].text[slice(*cut)])
        result: dict[int, Windows] = {}
        for i, (start, _) in jobs:
            result.setdefault(i, []).append((start, found[i, start]))
        return result

    def _scores_of(self, scores: SpanScores, row: int, text: str) -> WindowScores:
        """Return the scores of one window. White space neither begins nor ends an answer."""
        allowed = np.array([not c.isspace() for c in text])
        starts, ends = (_numpy(side[row, : len(text)]) for side in (scores.start, scores.end))
        no_answer = float(scores.no_answer[row])
        return span_scores(starts, ends, no_answer, allowed, self.max_length, self.length_scores)


def find_answers(
    windows: Windows, calibration: Calibration, top_k: int
) -> tuple[list[SpanProbability], float]:
    """Return the best spans of all windows, and the smallest probability of no answer of any window."""
    found, refusals = [], [1.0]
    for offset, scores in windows:
        log_probabilities, no_answer = scores.log_probabilities(calibration)
        found.append(best_spans(log_probabilities, offset, top_k))
        refusals.append(float(np.exp(no_answer)))
    return merge_windows(found, top_k), min(refusals)


def _groups(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Yield runs of pairs whose distinct passages have GROUP_CHARACTERS together, or one longer passage."""
    group: list[Pair] = []
    texts: set[str] = set()
    size = 0
    for pair in pairs:
        text = pair.text
        if group and text not in texts and size + len(text) > GROUP_CHARACTERS:
            yield group
            group, texts, size = [], set(), 0
        if text not in texts:
            texts.add(text)
            size += len(text)
        group.append(pair)
    if group:
        yield group


def _passage_docs(pairs: Sequence[Pair], vocab: Vocab, docs: CharacterDocs) -> dict[str, Doc]:
    """Return a Doc of characters for each distinct passage: the pair's own if it is ready."""
    ready = {}
    for pair in pairs:
        if isinstance(pair.passage, Doc) and docs.is_ready(pair.passage):
            ready[pair.text] = pair.passage
    missing = list(dict.fromkeys(pair.text for pair in pairs if pair.text not in ready))
    return {**ready, **dict(zip(missing, docs.make(vocab, missing, keep=True), strict=True))}


def _length(job: tuple[int, tuple[int, int]]) -> int:
    """Return the number of characters of a window."""
    start, end = job[1]
    return end - start


def _make_batch(
    jobs: Sequence[tuple[str, str, tuple[int, int]]], passages: dict[str, Doc], questions: dict[str, Doc]
) -> Batch:
    """Return a batch of windows (text, question, cut), with shared passages and questions only once."""
    texts = {text: n for n, text in enumerate(dict.fromkeys(text for text, _, _ in jobs))}
    asked = {question: n for n, question in enumerate(dict.fromkeys(question for _, question, _ in jobs))}
    cuts = {key: n for n, key in enumerate(dict.fromkeys((text, cut) for text, _, cut in jobs))}
    return Batch(
        passages=[passages[text] for text in texts],
        questions=[questions[question] for question in asked],
        passage_texts=list(texts),
        question_texts=list(asked),
        windows=[Window(texts[text], *cut) for text, cut in cuts],
        pairs=[(cuts[text, cut], asked[question]) for text, question, cut in jobs],
    )


def _numpy(array: Any) -> np.ndarray:
    return array.get() if hasattr(array, "get") else np.asarray(array)

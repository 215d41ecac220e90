"""From scores of starts and ends to spans: joint decoding and the probabilities of spans and of no answer."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class SpanProbability(NamedTuple):
    """A span of characters, and how probable it is among all spans and "no answer"."""

    start: int
    end: int
    """offset after the last character"""
    probability: float


@dataclass(frozen=True)
class Calibration:
    """What makes probabilities of scores: softmax over (spans, no answer + bias), all / temperature."""

    temperature: float = 1.0
    no_answer_bias: float = 0.0


@dataclass(frozen=True)
class WindowScores:
    """Scores of one window for one question. n characters, K = the longest answer."""

    spans: np.ndarray
    """(K, n): of the span that begins at a character and is k + 1 long, -inf where it is not allowed"""
    no_answer: float

    def log_normalizer(self, temperature: float) -> float:
        """The logarithm of the sum over all spans of exp(score / temperature); -inf without any span."""
        top = self.spans.max(initial=-np.inf)
        if top == -np.inf:
            return -np.inf
        return float(top / temperature + np.log(np.exp((self.spans - top) / temperature).sum()))

    def log_probabilities(self, calibration: Calibration) -> tuple[np.ndarray, float]:
        """(K, n) of the spans, and that of no answer."""
        temperature = calibration.temperature
        no_answer = (self.no_answer + calibration.no_answer_bias) / temperature
        total = np.logaddexp(self.log_normalizer(temperature), no_answer)
        return self.spans / temperature - total, float(no_answer - total)


def span_scores(
    start: np.ndarray, end: np.ndarray, no_answer: float, allowed: np.ndarray, max_length: int
) -> WindowScores:
    """Add the scores of both ends: every span with start <= end and at most `max_length` characters.

    start, end: (n,); no_answer: of both ends together, so it counts twice. allowed: (n,) bool, where an
    answer may begin or end.
    """
    n = len(start)
    length = max(1, min(max_length, n))
    start = np.where(allowed, start, -np.inf).astype(np.float64)
    end = np.where(allowed, end, -np.inf).astype(np.float64)
    spans = np.full((length, n), -np.inf)
    for k in range(length):
        spans[k, : n - k] = start[: n - k] + end[k:]
    return WindowScores(spans, 2.0 * float(no_answer))


def best_spans(log_probabilities: np.ndarray, offset: int, top_k: int) -> list[SpanProbability]:
    """The most probable spans of a window, at most `top_k`, the best first; none overlaps a better one.

    log_probabilities: (K, n); offset: of the window in the passage.
    """
    remaining = log_probabilities.copy()
    n = remaining.shape[1]
    found: list[SpanProbability] = []
    while len(found) < top_k and remaining.size:
        k, start = divmod(int(remaining.argmax()), n)
        if remaining[k, start] == -np.inf:
            break
        probability = float(np.exp(remaining[k, start]))
        found.append(SpanProbability(offset + start, offset + start + k + 1, probability))
        for j in range(len(remaining)):  # all spans of j + 1 characters that touch start .. start + k
            remaining[j, max(0, start - j) : start + k + 1] = -np.inf
    return found


def merge_windows(windows: list[list[SpanProbability]], top_k: int) -> list[SpanProbability]:
    """The best spans of several windows of a passage; none overlaps a better one, which may be the same."""
    merged: list[SpanProbability] = []
    for span in sorted(
        (span for spans in windows for span in spans), key=lambda s: (-s.probability, s.start)
    ):
        if all(span.end <= other.start or other.end <= span.start for other in merged):
            merged.append(span)
    return merged[:top_k]

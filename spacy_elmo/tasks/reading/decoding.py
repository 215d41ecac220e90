"""Decode scores of starts and ends jointly to spans, with probabilities of spans and of no answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class SpanProbability(NamedTuple):
    """A span of characters, and its probability among all spans and "no answer"."""

    start: int
    end: int
    """Offset after the last character."""
    probability: float


@dataclass(frozen=True)
class Calibration:
    """Parameters of the probabilities: softmax over (spans, no answer + bias), all divided by temperature."""

    temperature: float = 1.0
    no_answer_bias: float = 0.0


@dataclass(frozen=True)
class WindowScores:
    """Scores of one window for one question. n characters, K the longest answer."""

    spans: np.ndarray
    """(K, n), scores of the spans of k + 1 characters that begin at a character; -inf if not allowed."""
    no_answer: float

    def log_normalizer(self, temperature: float) -> float:
        """Return the log of the sum over all spans of exp(score / temperature); -inf without any span."""
        top = self.spans.max(initial=-np.inf)
        if top == -np.inf:
            return -np.inf
        return float(top / temperature + np.log(np.exp((self.spans - top) / temperature).sum()))

    def log_probabilities(self, calibration: Calibration) -> tuple[np.ndarray, float]:
        """Return the log probabilities of the spans, (K, n), and of no answer."""
        temperature = calibration.temperature
        no_answer = (self.no_answer + calibration.no_answer_bias) / temperature
        total = np.logaddexp(self.log_normalizer(temperature), no_answer)
        return self.spans / temperature - total, float(no_answer - total)


def span_scores(
    start: np.ndarray,
    end: np.ndarray,
    no_answer: float,
    allowed: np.ndarray,
    max_length: int,
    length_scores: Sequence[float] = (),
) -> WindowScores:
    """Add the scores of both ends: every span with start <= end and at most `max_length` characters.

    start, end: (n,); no_answer: of both ends together, so it counts twice. allowed: (n,) bool, where an
    answer may begin or end. length_scores: of spans of 1, 2, ... characters, the last one of all longer ones.
    """
    n = len(start)
    length = max(1, min(max_length, n))
    start = np.where(allowed, start, -np.inf).astype(np.float64)
    end = np.where(allowed, end, -np.inf).astype(np.float64)
    spans = np.full((length, n), -np.inf)
    for k in range(length):
        length_score = length_scores[min(k, len(length_scores) - 1)] if length_scores else 0.0
        spans[k, : n - k] = start[: n - k] + end[k:] + length_score
    return WindowScores(spans, 2.0 * float(no_answer))


def fit_length_scores(lengths: Iterable[int], max_length: int, weight: float) -> list[float]:
    """Scores of answers of 1 to `max_length` characters: weight * log of their share, at most 0.

    lengths: of answers in training data. Counts are smoothed over neighbouring lengths. Empty without any.
    """
    counts = np.full(max_length, 0.5)
    found = [length for length in lengths if 1 <= length <= max_length]
    if not found or not weight:
        return []
    np.add.at(counts, np.array(found) - 1, 1.0)
    padded = np.pad(counts, 2, mode="edge")
    shares = np.convolve(padded, [0.1, 0.2, 0.4, 0.2, 0.1], "valid")
    scores: list[float] = (weight * np.log(shares / shares.max())).tolist()
    return scores


def best_spans(log_probabilities: np.ndarray, offset: int, top_k: int) -> list[SpanProbability]:
    """Return the most probable spans of a window, at most `top_k`, best first, without overlap.

    log_probabilities: (K, n). offset: offset of the window in the passage.
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
    """Return the best spans of several windows of a passage, without overlap or duplicates."""
    merged: list[SpanProbability] = []
    for span in sorted(
        (span for spans in windows for span in spans), key=lambda s: (-s.probability, s.start)
    ):
        if all(span.end <= other.start or other.end <= span.start for other in merged):
            merged.append(span)
    return merged[:top_k]

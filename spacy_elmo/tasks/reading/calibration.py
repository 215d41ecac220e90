"""Fit the probabilities of a reader on questions that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .decoding import Calibration, WindowScores

TEMPERATURES = np.geomspace(0.4, 4.0, 25)
BIASES = np.linspace(-12.0, 12.0, 97)


@dataclass(frozen=True)
class CalibrationCase:
    """One window with its correct answer, reduced to what the likelihood needs."""

    log_normalizers: np.ndarray
    """Log normaliser of the spans, at each of TEMPERATURES."""
    gold: np.ndarray | None
    """Scores of the correct spans; None: there is no answer."""
    no_answer: float

    @classmethod
    def of(
        cls, windows: Sequence[tuple[int, WindowScores]], spans: Sequence[tuple[int, int]]
    ) -> "CalibrationCase | None":
        """Build the case of the first window with a correct span, or the first of an impossible question."""
        for offset, scores in windows:
            length, n = scores.spans.shape
            inside = [(s - offset, e - offset) for s, e in spans if s >= offset and e - offset <= n]
            gold = [scores.spans[e - s - 1, s] for s, e in inside if e - s <= length]
            gold = [score for score in gold if score > -np.inf]
            if gold or not spans:
                normalizers = np.array([scores.log_normalizer(t) for t in TEMPERATURES])
                return cls(normalizers, np.array(gold) if gold else None, scores.no_answer)
        return None


def fit_calibration(cases: Sequence[CalibrationCase], now: Calibration) -> Calibration:
    """Return the temperature and bias of a grid that maximise the likelihood of the correct answers.

    The bias does not change if every case has an answer; nothing changes without cases.
    """
    if not cases:
        return now
    refused = any(case.gold is None for case in cases)
    biases = BIASES if refused else np.array([now.no_answer_bias])
    totals = np.zeros((len(TEMPERATURES), len(biases)))
    for case in cases:
        t = TEMPERATURES[:, None]
        no_answer = (case.no_answer + biases) / t  # (temperatures, biases)
        total = np.logaddexp(case.log_normalizers[:, None], no_answer)
        right = no_answer if case.gold is None else np.logaddexp.reduce(case.gold / t, axis=1)[:, None]
        totals += right - total
    i, j = np.unravel_index(int(totals.argmax()), totals.shape)
    return Calibration(float(TEMPERATURES[i]), float(biases[j]))

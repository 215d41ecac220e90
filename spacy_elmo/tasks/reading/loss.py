"""Compute the loss of span scores and its gradient."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from thinc.api import torch2xp, xp2torch

from .network import SpanScores

Spans = Sequence[tuple[int, int]]


class LossAndGrads(NamedTuple):
    """Loss and gradients of a batch of pairs."""

    loss: float
    """Sum over the pairs."""
    grads: SpanScores
    """Gradients of the mean over the pairs."""


def span_loss(scores: SpanScores, lengths: Sequence[int], targets: Sequence[Spans]) -> LossAndGrads:
    """Compute -log p(start) - log p(end), each a softmax over the characters of a window and "no answer".

    lengths: characters of each pair's window. targets: correct spans (start, end) of each pair; the
    probabilities of all of them are summed (Clark & Gardner 2018, section 3). Without spans, "no answer" is
    correct.
    """
    start, end, no_answer = (xp2torch(s).detach().requires_grad_(True) for s in scores)
    P, T = start.shape
    gold_start = np.zeros((P, T + 1), dtype=bool)
    gold_end = np.zeros((P, T + 1), dtype=bool)
    for i, spans in enumerate(targets):
        for first, after in spans:
            gold_start[i, first] = gold_end[i, after - 1] = True
        gold_start[i, T] = gold_end[i, T] = not spans
    padding = torch.arange(T, device=start.device) >= torch.tensor(lengths, device=start.device)[:, None]
    loss = _marginal(start, no_answer, padding, gold_start) + _marginal(end, no_answer, padding, gold_end)
    grads = torch.autograd.grad(loss / P, (start, end, no_answer))
    return LossAndGrads(loss.item(), SpanScores(*map(torch2xp, grads)))


def _marginal(
    scores: torch.Tensor, no_answer: torch.Tensor, padding: torch.Tensor, gold: np.ndarray
) -> torch.Tensor:
    """Sum -log of the total probability of the gold positions. scores: (P, T); gold: (P, T + 1)."""
    joint = torch.cat([scores.masked_fill(padding, float("-inf")), no_answer[:, None]], 1)
    right = joint.masked_fill(~torch.from_numpy(gold).to(joint.device), float("-inf"))
    return (joint.logsumexp(1) - right.logsumexp(1)).sum()

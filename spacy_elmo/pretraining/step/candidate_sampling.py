"""Sample the candidates of a sampled softmax (Jean et al. 2015; Jozefowicz et al. 2016)."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...modeling.cross_entropy import ChunkedCrossEntropy
from ...modeling.vocab import SPECIALS


class Candidates(NamedTuple):
    """Candidates for n targets.

    Attributes:
        units: (C,), ascending.
        log_inclusion_prob: (C,), log probability that each unit is a candidate, by sampling or as a target.
        target_index: (n,), index of the targets in `units`.
    """

    units: Tensor
    log_inclusion_prob: Tensor
    target_index: Tensor


class CandidateSampler:
    """Sampler of the units of a sampled softmax: about `n_samples`, and the batch's targets.

    The vocabulary is sorted by frequency, so unit r is assumed to have the share log((r + 2) / (r + 1)) /
    log(R + 1) of the text (Zipf's law), with R units in all. Each unit is drawn independently with a
    probability that is proportional to its share, at most 1; special tokens are always drawn. With as many
    samples as units, all units are drawn.
    """

    def __init__(self, vocab_size: int, n_samples: int, device: torch.device):
        ranks = torch.arange(vocab_size - len(SPECIALS), dtype=torch.float64)
        unigram_prob = torch.log1p(1 / (ranks + 1))
        unigram_prob /= unigram_prob.sum()
        inclusion_prob = _inclusion_probs(unigram_prob, max(0, n_samples - len(SPECIALS)))
        ones = torch.ones(len(SPECIALS), dtype=torch.float64)
        self._unigram_prob = torch.cat([ones, unigram_prob]).float().to(device)
        self._inclusion_prob = torch.cat([ones, inclusion_prob]).float().to(device)

    def sample(self, targets: Tensor, seed: int) -> Candidates:
        """Sample candidates for targets, (n,) units."""
        generator = torch.Generator(targets.device).manual_seed(seed)
        chosen = (
            torch.rand(self._inclusion_prob.shape, generator=generator, device=targets.device)
            < self._inclusion_prob
        )
        chosen[targets] = True
        candidates = chosen.nonzero().squeeze(1)
        target_index = (chosen.cumsum(0) - 1)[targets]
        missed = torch.log1p(-self._inclusion_prob[candidates].clamp(max=1 - 1e-7))
        absent = torch.log1p(-self._unigram_prob[candidates].clamp(max=1 - 1e-7)) * len(targets)
        return Candidates(candidates, torch.log1p(-torch.exp(missed + absent)), target_index)


def _inclusion_probs(unigram_prob: Tensor, n_samples: int) -> Tensor:
    """Return min(1, factor * unigram_prob), with the factor for which the sum is `n_samples`."""
    if n_samples >= len(unigram_prob):
        return torch.ones_like(unigram_prob)
    low, high = 0.0, float(n_samples / unigram_prob.min())
    for _ in range(100):
        factor = (low + high) / 2
        if float((unigram_prob * factor).clamp(max=1).sum()) < n_samples:
            low = factor
        else:
            high = factor
    return (unigram_prob * high).clamp(max=1)


def sampled_softmax_loss(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    candidates: Candidates,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Compute the loss over the candidates only: the targets and the sampled units.

    The logit of a candidate is lowered by its log inclusion probability, so that the sum over candidates is
    correct on average. The result is not a likelihood, and not comparable with the full softmax. Shapes as in
    ChunkedCrossEntropy.
    """
    rows = weight[candidates.units], bias[candidates.units] - candidates.log_inclusion_prob
    loss: Tensor = ChunkedCrossEntropy.apply(x, *rows, candidates.target_index, dtype)
    return loss

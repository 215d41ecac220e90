"""Which units a sampled softmax compares the true one with (Jean et al. 2015; Jozefowicz et al. 2016)."""

from typing import NamedTuple

import torch
from torch import Tensor

from .vocab import SPECIALS


class Candidates(NamedTuple):
    """What was drawn for n targets.

    units: (C,), rising. log_chance: (C,), the logarithm of the probability that each is among them, drawn or
    as a target. places: (n,), of the targets in `units`.
    """

    units: Tensor
    log_chance: Tensor
    places: Tensor


class CandidateSampler:
    """Draws the units that a sampled softmax is computed over: about `samples`, and the batch's targets.

    The vocabulary is sorted by frequency, so unit r is taken to have the share log((r + 2) / (r + 1)) /
    log(R + 1) of the text (Zipf's law), R units in all. Each is drawn by itself with a probability that is
    proportional to its share, at most 1; the specials always. With as many samples as units, all are.
    """

    def __init__(self, vocab_size: int, samples: int, device: torch.device):
        ranks = torch.arange(vocab_size - len(SPECIALS), dtype=torch.float64)
        share = torch.log1p(1 / (ranks + 1))
        share /= share.sum()
        chance = _chances(share, max(0, samples - len(SPECIALS)))
        ones = torch.ones(len(SPECIALS), dtype=torch.float64)
        self._share = torch.cat([ones, share]).float().to(device)
        self._chance = torch.cat([ones, chance]).float().to(device)

    def draw(self, targets: Tensor, seed: int) -> Candidates:
        """targets: (n,) units."""
        generator = torch.Generator(targets.device).manual_seed(seed)
        chosen = torch.rand(self._chance.shape, generator=generator, device=targets.device) < self._chance
        chosen[targets] = True
        candidates = chosen.nonzero().squeeze(1)
        places = (chosen.cumsum(0) - 1)[targets]
        missed = torch.log1p(-self._chance[candidates].clamp(max=1 - 1e-7))
        absent = torch.log1p(-self._share[candidates].clamp(max=1 - 1e-7)) * len(targets)
        return Candidates(candidates, torch.log1p(-torch.exp(missed + absent)), places)


def _chances(share: Tensor, samples: int) -> Tensor:
    """min(1, factor * share) with the factor that makes them add up to `samples`."""
    if samples >= len(share):
        return torch.ones_like(share)
    low, high = 0.0, float(samples / share.min())
    for _ in range(100):
        factor = (low + high) / 2
        if float((share * factor).clamp(max=1).sum()) < samples:
            low = factor
        else:
            high = factor
    return (share * high).clamp(max=1)

"""The sampled softmax: with all units it is the full one, with few it is right on average."""

import pytest
import torch
from modeling.helpers import WORDS, make_bilm

from spacy_elmo.modeling.collate import collate
from spacy_elmo.modeling.cross_entropy import ChunkedCrossEntropy
from spacy_elmo.modeling.vocab import SPECIALS
from spacy_elmo.pretraining.step.candidate_sampling import CandidateSampler, sampled_softmax_loss
from spacy_elmo.pretraining.step.train_step import TrainStep

CPU = torch.device("cpu")


def case(units: int = 60, n: int = 40):
    torch.manual_seed(0)
    weight = torch.randn(units, 8, requires_grad=True)
    bias = torch.randn(units, requires_grad=True)
    x = torch.randn(n, 8, requires_grad=True)
    targets = torch.randint(1, units, (n,))
    return x, weight, bias, targets


def test_all_units_are_the_full_softmax():
    x, weight, bias, targets = case()
    full = ChunkedCrossEntropy.apply(x, weight, bias, targets, None)
    drawn = CandidateSampler(60, 60, CPU).sample(targets, 1)
    sampled = sampled_softmax_loss(x, weight, bias, targets, drawn)
    torch.testing.assert_close(sampled, full)
    for a, b in zip(*(torch.autograd.grad(y, [x, weight, bias]) for y in (sampled, full)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("samples", [1, 10, 40, 100])
def test_candidates_hold_the_targets_and_about_as_many_samples(samples):
    sampler = CandidateSampler(200, samples, CPU)
    targets = torch.tensor([7, 150, 7, 199])
    sizes = []
    for seed in range(40):
        candidates, log_inclusion_prob, places = sampler.sample(targets, seed)
        assert torch.equal(candidates[places], targets)
        assert torch.equal(candidates, candidates.unique())
        assert set(range(len(SPECIALS))) <= set(candidates.tolist())
        assert log_inclusion_prob.isfinite().all()
        assert (log_inclusion_prob <= 0).all()
        sizes.append(len(candidates))
    expected = max(samples, len(SPECIALS))
    assert expected * 0.7 <= sum(sizes) / len(sizes) <= expected * 1.3 + 3


def test_a_draw_depends_on_its_seed_alone():
    sampler = CandidateSampler(500, 50, CPU)
    targets = torch.tensor([5])
    one, same, other = (sampler.sample(targets, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_sum_over_candidates_is_right_on_average():
    _, weight, bias, _ = case(units=400)
    x = torch.randn(8)
    logits = (weight @ x * 0.3 + bias).detach()
    sampler = CandidateSampler(400, 100, CPU)
    targets = torch.empty(0, dtype=torch.int64)
    found = []
    for seed in range(400):
        candidates, log_inclusion_prob, _ = sampler.sample(targets, seed)
        found.append((logits[candidates] - log_inclusion_prob).exp().sum())
    assert float(torch.stack(found).mean()) == pytest.approx(float(logits.exp().sum()), rel=0.05)


def test_a_training_step_takes_it():
    bilm = make_bilm()
    batch = collate(bilm, [WORDS, WORDS[:3]])
    TrainStep(bilm, n_samples=len(bilm.vocab))(batch, 0)
    sampled = [p.grad.clone() for p in bilm.parameters() if p.requires_grad]
    bilm.zero_grad()
    TrainStep(bilm)(batch, 0)
    for a, p in zip(sampled, (p for p in bilm.parameters() if p.requires_grad), strict=True):
        torch.testing.assert_close(a, p.grad)

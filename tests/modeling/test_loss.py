"""The losses against plain cross entropy, and the training step against plain autograd."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.collate import collate
from spacy_elmo.modeling.loss import lm_loss, perplexity
from spacy_elmo.modeling.lstm import Dropout
from spacy_elmo.pretraining.step.train_step import TrainStep

from .helpers import ENCODERS, WORDS, layers, make_bilm, padding_free, weights_of

SENTENCES = [["我", "爱", "北京"], ["Linux"], ["我", "在", "北京", "的", "天安门", "未知"]]
N = 3 + 1 + 6 + 3  # every unit, and the boundary after each sentence


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    """One thread runs the directions one after the other, two side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)


def naive_loss(bilm: BiLM, sentences) -> tuple[float, float]:
    """Sums of -log p(unit) in numpy, forward and backward, one prediction at a time."""
    weights = weights_of(bilm)
    weight = weights.get("untied_softmax_weight", weights.get("token_encoder.embedding.weight"))
    sums = [0.0, 0.0]
    for sentence in sentences:
        ids, last = padding_free(bilm, sentence), layers(bilm, sentence, boundaries=True)[-1]
        width = bilm.config.projection_dim
        for t in range(len(ids)):
            for side, (states, target) in enumerate(((last[t, :width], t + 1), (last[t, width:], t - 1))):
                if 0 <= target < len(ids):
                    logits = weight @ states + weights["softmax_bias"]
                    sums[side] += np.log(np.exp(logits).sum()) - logits[ids[target]]
    return sums[0], sums[1]


def autograd_loss(bilm: BiLM, batch) -> torch.Tensor:
    """The mean loss from the network's own layers, with torch's cross entropy."""
    last, width, n = bilm(batch)[-1], bilm.config.projection_dim, 0
    total = torch.zeros(())
    for row, length in enumerate(batch.lengths.tolist()):
        ids, n = batch.input_ids[row, :length], n + length - 1
        for states, targets in (
            (last[row, : length - 1, :width], ids[1:]),
            (last[row, 1:length, width:], ids[:-1]),
        ):
            logits = states @ bilm.softmax_weight.T + bilm.softmax_bias
            total = total + F.cross_entropy(logits, targets, reduction="sum")
    return total / (2 * n)


def gradients(bilm: BiLM) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in bilm.named_parameters() if p.grad is not None}


def step(bilm: BiLM, seed: int = 0, **options) -> dict[str, torch.Tensor]:
    bilm.zero_grad(set_to_none=True)
    TrainStep(bilm, **options)(collate(bilm, SENTENCES), seed)
    return gradients(bilm)


@pytest.mark.parametrize("name", ENCODERS)
def test_loss_is_cross_entropy_in_each_direction(name):
    bilm = make_bilm(**ENCODERS[name])
    loss = lm_loss(bilm, collate(bilm, SENTENCES))
    assert loss.n_targets == N
    assert (loss.forward, loss.backward) == pytest.approx(naive_loss(bilm, SENTENCES), rel=1e-5)
    assert loss.mean == pytest.approx((loss.forward + loss.backward) / (2 * N))
    assert all(p.grad is None for p in bilm.parameters())


def test_loss_of_more_predictions_than_one_chunk():
    bilm = make_bilm()
    many = [[WORDS[(i * j) % len(WORDS)] for j in range(i % 40 + 1)] for i in range(60)]
    loss = lm_loss(bilm, collate(bilm, many))
    assert loss.n_targets == sum(map(len, many)) + 60 > 1024
    assert (loss.forward, loss.backward) == pytest.approx(naive_loss(bilm, many), rel=1e-5)


def test_loss_adds_up_over_batches():
    bilm = make_bilm()
    whole, parts = (
        lm_loss(bilm, collate(bilm, SENTENCES)),
        [lm_loss(bilm, collate(bilm, [s])) for s in SENTENCES],
    )
    assert whole.forward == pytest.approx(sum(p.forward for p in parts), rel=1e-5)
    assert whole.backward == pytest.approx(sum(p.backward for p in parts), rel=1e-5)


def test_loss_of_huge_logits_is_finite():
    bilm = make_bilm()
    with torch.no_grad():
        bilm.softmax_bias[5] = 1e4
    loss = lm_loss(bilm, collate(bilm, SENTENCES))
    assert 1e4 < loss.forward < 2e5


def test_loss_has_no_dropout():
    bilm = make_bilm().train()
    batch = collate(bilm, SENTENCES)
    assert torch.equal(lm_loss(bilm, batch).nll, lm_loss(bilm, batch).nll)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary():
    bilm = make_bilm(tie_softmax=False)
    with torch.no_grad():
        bilm.softmax_weight.zero_()
        bilm.softmax_bias.zero_()
    loss = lm_loss(bilm, collate(bilm, SENTENCES))
    assert perplexity(loss.forward, loss.n_targets) == pytest.approx(len(bilm.vocab), rel=1e-6)
    assert perplexity(loss.backward, loss.n_targets) == pytest.approx(len(bilm.vocab), rel=1e-6)


def test_perplexity():
    assert perplexity(0, 5) == 1
    assert perplexity(np.log(7) * 3, 3) == pytest.approx(7)
    assert perplexity(1e9, 1) == float("inf")


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", [*ENCODERS, "untied", "clipped", "no skip"])
def test_gradients_are_those_of_autograd(name):
    more = {
        "untied": {"tie_softmax": False},
        "clipped": {"cell_clip": 0.2, "proj_clip": 0.3},
        "no skip": {"use_skip_connections": False, "n_layers": 3},
    }
    bilm = make_bilm(**{**ENCODERS, **more}[name])
    found = step(bilm)
    bilm.zero_grad(set_to_none=True)
    expected_loss = autograd_loss(bilm, collate(bilm, SENTENCES))
    expected_loss.backward()
    expected = gradients(bilm)
    assert found.keys() == expected.keys() == {n for n, p in bilm.named_parameters() if p.requires_grad}
    for key, grad in expected.items():
        torch.testing.assert_close(
            found[key], grad, atol=2e-6, rtol=1e-4, msg=lambda m, key=key: f"{key}: {m}"
        )
        assert grad.abs().max() > 0
    loss = TrainStep(bilm)(collate(bilm, SENTENCES), 0)
    assert loss.mean == pytest.approx(expected_loss.item(), rel=1e-5)


def test_gradients_in_bfloat16_point_the_same_way():
    bilm = make_bilm(projection_dim=16, hidden_size=24)
    exact, rough = step(bilm), step(bilm, dtype=torch.bfloat16)
    for key, grad in exact.items():
        assert rough[key].dtype == torch.float32
        assert F.cosine_similarity(rough[key].flatten(), grad.flatten(), dim=0) > 0.99, key


def test_a_step_adds_to_the_gradients_that_are_there():
    bilm = make_bilm()
    once = step(bilm)
    TrainStep(bilm)(collate(bilm, SENTENCES), 0)
    for key, grad in gradients(bilm).items():
        torch.testing.assert_close(grad, 2 * once[key])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    "options", [{}, {"dropout": 0.3}, {"dropout": 0.3, "dtype": torch.bfloat16}], ids=str
)
def test_the_same_seed_gives_the_same_bits(options):
    bilm = make_bilm(**ENCODERS["both"])
    one, other = step(bilm, 3, **options), step(bilm, 3, **options)
    assert all(torch.equal(one[key], other[key]) for key in one)
    different = step(bilm, 4, **options)
    assert all(torch.equal(one[key], different[key]) for key in one) == ("dropout" not in options)


def test_the_threads_make_no_difference_to_dropout():
    bilm = make_bilm()
    before, found = torch.get_num_threads(), []
    for number in (1, 2):
        torch.set_num_threads(number)
        found.append(step(bilm, 7, dropout=0.4))
    torch.set_num_threads(before)
    for key, grad in found[0].items():
        torch.testing.assert_close(grad, found[1][key])


def test_training_leaves_torchs_own_random_state_alone():
    bilm = make_bilm()
    before = torch.get_rng_state()
    step(bilm, dropout=0.5)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_keeps_the_mean_and_drops_its_share():
    x = Dropout(0.25, torch.Generator().manual_seed(0))(torch.ones(200, 200))
    assert x.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert float((x == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(x.mean()) == pytest.approx(1, abs=0.02)

"""Results of a GPU: the layers and gradients of the CPU. Some tests take its path on the CPU."""

import numpy as np
import pytest
import torch
from modeling.helpers import ENCODERS, WORDS, layers, make_bilm

from spacy_elmo.modeling.collate import collate
from spacy_elmo.modeling.token_encoder import TokenBatch
from spacy_elmo.pretraining.step.cuda_graphs import CUDAGraphTrainStep, pad_to_bucket, with_cuda_graphs
from spacy_elmo.pretraining.step.train_step import TrainStep

SENTENCES = [["我", "爱", "北京", "天安门", "？未知", "，", "Linux"] * 4, [], ["我"], WORDS]
MODELS = {
    **ENCODERS,
    "clipped": {"cell_clip": 0.3, "proj_clip": 0.2},
    "clipped, not projected": {"projection_dim": 10, "cell_clip": 0.3},
    "not projected": {"projection_dim": 10},
}
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


@gpu
@pytest.mark.parametrize("name", sorted(MODELS))
def test_f32_on_a_gpu(name):
    bilm = make_bilm(**MODELS[name])
    expected = bilm.encode(SENTENCES)
    for found, want in zip(bilm.to("cuda").encode(SENTENCES), expected, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-4)


@gpu
@pytest.mark.parametrize("name", sorted(MODELS))
def test_bf16_on_a_gpu(name):
    bilm = make_bilm(**MODELS[name])
    expected = bilm.encode(SENTENCES)
    for found, want in zip(bilm.to("cuda").encode(SENTENCES, precision="bf16"), expected, strict=True):
        assert found.dtype == np.float32
        assert found.size == 0 or cosines(found, want).min() >= 0.9995


@pytest.mark.parametrize("name", sorted(MODELS))
def test_products_in_bf16_where_the_network_itself_computes(name):
    bilm = make_bilm(**MODELS[name])
    sentences = [sentence for sentence in SENTENCES if sentence]
    with torch.inference_mode():
        found = bilm(collate(bilm, sentences), dtype=torch.bfloat16)
    assert found.dtype == torch.float32
    for row, sentence in zip(found.unbind(1), sentences, strict=True):
        own = row[:, 1 : 1 + len(sentence)].numpy()
        assert cosines(own, layers(bilm, sentence)).min() >= 0.9995
        assert np.abs(own[1:] - layers(bilm, sentence)[1:]).max() > 0


def gradients(bilm):
    return {name: p.grad.cpu() for name, p in bilm.named_parameters() if p.grad is not None}


def steps_of(bilm, step, batches):
    """The losses and gradients of one batch after another."""
    found = []
    for seed, batch in enumerate(batches):
        bilm.zero_grad()
        found.append((step(batch.to(bilm.device), seed), gradients(bilm)))
    return found


def some_batches(bilm, lengths):
    words = [bilm.vocab.units[i % len(bilm.vocab.units)] for i in range(80)]
    return [collate(bilm, [words[i : i + n] for i, n in enumerate(sizes)]) for sizes in lengths]


def assert_same_steps(found, expected, tolerance):
    for (loss, grads), (other, others) in zip(found, expected, strict=True):
        assert loss.n_targets == other.n_targets
        assert loss.mean == pytest.approx(other.mean, rel=tolerance)
        assert grads.keys() == others.keys()
        for name, grad in grads.items():
            assert float((grad - others[name]).norm()) <= tolerance * float(others[name].norm()), name


@pytest.mark.parametrize("name", ["table", "n-grams"])
def test_padding_changes_no_gradient(name, monkeypatch):
    """Whole sentences of padding too, and positions that predict nothing."""
    bilm = make_bilm(**MODELS[name])
    batches = some_batches(bilm, [[41, *[1] * 36], [2]])
    expected = steps_of(bilm, TrainStep(bilm), batches)
    monkeypatch.setattr(TrainStep, "has_static_shapes", True)
    found = steps_of(bilm, TrainStep(bilm), [pad_to_bucket(batch) for batch in batches])
    assert tuple(pad_to_bucket(batches[0]).input_ids.shape) == (38, 44)
    assert_same_steps(found, expected, 1e-5)


@pytest.mark.parametrize(("rows", "length"), [(1, 3), (33, 40), (100, 65), (512, 31)])
def test_batches_are_padded_by_a_sixteenth_at_most(rows, length):
    batch = pad_to_bucket(TokenBatch(torch.ones(rows, length, dtype=torch.long), torch.full((rows,), length)))
    for found, needed in zip(batch.input_ids.shape, (rows, length), strict=True):
        assert needed <= found <= needed * 17 / 16
    assert int(batch.input_ids.sum()) == rows * length
    assert batch.lengths.tolist() == [length] * rows + [0] * (len(batch.lengths) - rows)


@gpu
@pytest.mark.parametrize("name", sorted(MODELS))
def test_steps_of_training_on_a_gpu(name):
    """Recorded or not: those of the CPU."""
    bilm = make_bilm(**MODELS[name])
    batches = some_batches(bilm, [[3, 1, 40], [2], [3, 2, 30], [5, 5], [3, 1, 39]])
    expected = steps_of(bilm, TrainStep(bilm), batches)
    bilm.zero_grad()
    step = with_cuda_graphs(TrainStep(bilm.to("cuda")))
    assert isinstance(step, CUDAGraphTrainStep) == (bilm.config.token_encoder == "embedding")
    assert_same_steps(steps_of(bilm, step, batches), expected, 1e-4)


@gpu
def test_a_recorded_step_has_the_numbers_of_one_that_is_not():
    """Dropout masks too, which differ from seed to seed."""
    bilm = make_bilm(projection_dim=16, hidden_size=64).to("cuda")
    batches = [pad_to_bucket(batch) for batch in some_batches(bilm, [[20, 20], [5, 3], [20, 20], [20, 20]])]
    options = {"dropout": 0.5, "dtype": torch.bfloat16}
    step = CUDAGraphTrainStep(TrainStep(bilm, **options))
    found = steps_of(bilm, step, batches)
    again = steps_of(bilm, step.plain, batches)
    assert_same_steps(found, again, 1e-6)
    assert found[2][0].mean != found[3][0].mean

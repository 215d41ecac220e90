"""The native kernel in training: the same numbers as torch's own operations, on every instruction set."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from spacy_elmo.bilm import kernels as module
from spacy_elmo.bilm.inference.library import instruction_sets, library
from spacy_elmo.bilm.kernels import Kernels, LSTMFunction, column_sums
from spacy_elmo.bilm.objective import CHUNK, FullSoftmaxLoss

pytestmark = pytest.mark.skipif(library() is None, reason="the native kernel is not built here")

SHAPES = [(5, 3, 32, 64), (1, 1, 3, 5), (4, 2, 7, 7), (3, 9, 16, 33)]  # steps, rows, P, H
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.03}


@pytest.fixture(params=list(instruction_sets()) or ["none"])
def instruction_set(request, monkeypatch):
    """Each that this processor has."""
    chosen = Kernels(library(), instruction_sets()[request.param])
    monkeypatch.setattr(module, "_kernels", lambda: chosen)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


def weights_of(layer: nn.LSTM, dtype: torch.dtype) -> list[torch.Tensor | None]:
    found = dict(layer.named_parameters())
    bias = found["bias_ih_l0"] + found["bias_hh_l0"]
    used = [found["weight_ih_l0"], found["weight_hh_l0"], bias, found.get("weight_hr_l0")]
    return [None if w is None else w.to(dtype) for w in used]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_layer_and_gradients(instruction_set, shape, dtype):
    """Against nn.LSTM in float64."""
    steps, rows, width, hidden = shape
    torch.manual_seed(0)
    layer = nn.LSTM(width, hidden, proj_size=width if width < hidden else 0).double()
    x, seen = (torch.randn(steps, rows, width, dtype=torch.float64) for _ in range(2))
    trained = [x.requires_grad_(), *layer.parameters()]
    expected = layer(x)[0]
    found = LSTMFunction.apply(x.to(dtype), *weights_of(layer, dtype))
    assert found.dtype == dtype
    assert distance(found, expected) < TOLERANCE[dtype]
    wanted = torch.autograd.grad((expected * seen).sum(), trained)
    gradients = torch.autograd.grad((found.double() * seen).sum(), trained)
    for a, b in zip(gradients, wanted, strict=True):
        assert distance(a, b) < TOLERANCE[dtype]


def test_large_inputs_saturate(instruction_set):
    """No overflow where the gates are far from zero, in either direction."""
    layer = nn.LSTM(4, 8, proj_size=3)
    x = torch.tensor([1e4, -1e4, 1e30, -1e30]).reshape(1, 4, 1).expand(3, 4, 4).contiguous().requires_grad_()
    found = LSTMFunction.apply(x, *weights_of(layer, torch.float32))
    assert torch.allclose(found, layer(x)[0], atol=1e-5)
    assert torch.autograd.grad(found.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, CHUNK + 40),
    size=st.integers(1, 70),
    spread=st.floats(0.01, 60.0),
    seed=st.integers(0, 99),
)
def test_cross_entropy(dtype, n, size, spread, seed):
    """Loss and gradients against torch's, on the same rounded inputs."""
    torch.manual_seed(seed)
    x, weight = torch.randn(n, 8), torch.randn(size, 8).mul(spread).to(dtype).float()
    bias, targets = torch.randn(size), torch.randint(size, (n,))
    trained = [x.to(dtype).requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    loss = FullSoftmaxLoss.apply(*trained, targets, CHUNK)
    logits = F.linear(trained[0], weight.to(dtype)).float()  # rounded as they are in the kernel
    expected = F.cross_entropy(logits + bias, targets, reduction="sum")
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4, abs=1e-3)
    for a, b in zip(torch.autograd.grad(loss, trained), torch.autograd.grad(expected, trained), strict=True):
        assert float((a.float() - b.float()).norm()) <= TOLERANCE[dtype] * (float(b.float().norm()) + spread)


@pytest.mark.parametrize("size", [3, 16, 37])
def test_cross_entropy_everywhere(instruction_set, size):
    """On every instruction set, also with logits far apart."""
    logits = torch.linspace(-500, 500, 4 * size).reshape(4, size)
    bias, targets = torch.linspace(-1, 1, size), torch.tensor([0, size - 1, 1, size // 2])
    reference = logits.double().requires_grad_()
    expected = F.cross_entropy(reference + bias.double(), targets, reduction="sum")
    gradient = torch.autograd.grad(expected, reference)[0]
    native = module.kernels(logits)
    assert native is not None
    assert native.cross_entropy(logits, bias, targets) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert torch.allclose(logits.double(), gradient, atol=1e-5)


def test_a_broken_number_is_not_hidden(instruction_set):
    """A NaN among the logits makes the loss NaN, wherever it stands."""
    for place in (0, 16, 36):
        logits = torch.zeros(1, 37)
        logits[0, place] = float("nan")
        native = module.kernels(logits)
        assert native is not None
        loss = native.cross_entropy(logits, torch.zeros(37), torch.tensor([5]))
        assert loss != loss


def test_column_sums():
    x = torch.randn(7, 5)
    assert torch.allclose(column_sums(x), x.sum(0), atol=1e-5)

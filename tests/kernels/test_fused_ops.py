"""FusedOps in training: the same numbers as torch's own operations, on every instruction set and on a GPU.

Without a GPU, Triton's can be tried in its interpreter: TRITON_INTERPRET=1, with triton and numpy<2.4.
"""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from spacy_elmo.kernels import fused_ops as module
from spacy_elmo.kernels.binding import supported_targets
from spacy_elmo.kernels.fused_ops import LSTMFunction, NativeFusedOps, column_sums
from spacy_elmo.modeling.cross_entropy import LOGIT_CHUNK, ChunkedCrossEntropy

SHAPES = [(5, 3, 32, 64), (1, 1, 3, 5), (4, 2, 7, 7), (3, 9, 16, 33)]  # steps, rows, P, H
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.03}


@pytest.fixture(params=[*supported_targets(), "triton"])
def device(request, monkeypatch):
    """Where the kernels run: each instruction set that this processor has, and Triton's."""
    if request.param != "triton":
        chosen = NativeFusedOps(request.param)
    elif torch.cuda.is_available():
        return torch.device("cuda")
    elif os.environ.get("TRITON_INTERPRET"):
        chosen = pytest.importorskip("spacy_elmo.kernels.triton_ops").TritonFusedOps()
    else:
        pytest.skip("needs a GPU")
    monkeypatch.setattr(module, "_native_ops", lambda: chosen)
    return torch.device("cpu")


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


def weights_of(layer: nn.LSTM, dtype: torch.dtype) -> list[torch.Tensor | None]:
    found = dict(layer.named_parameters())
    bias = found["bias_ih_l0"] + found["bias_hh_l0"]
    used = [found["weight_ih_l0"], found["weight_hh_l0"], bias, found.get("weight_hr_l0")]
    return [None if w is None else w.to(dtype) for w in used]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_layer_and_gradients(device, shape, dtype):
    """Against nn.LSTM in float64."""
    steps, rows, width, hidden = shape
    torch.manual_seed(0)
    layer = nn.LSTM(width, hidden, proj_size=width if width < hidden else 0).double().to(device)
    x, seen = (torch.randn(steps, rows, width, dtype=torch.float64, device=device) for _ in range(2))
    trained = [x.requires_grad_(), *layer.parameters()]
    expected = layer(x)[0]
    found = LSTMFunction.apply(x.to(dtype), *weights_of(layer, dtype))
    assert found.dtype == dtype
    assert distance(found, expected) < TOLERANCE[dtype]
    wanted = torch.autograd.grad((expected * seen).sum(), trained)
    gradients = torch.autograd.grad((found.double() * seen).sum(), trained)
    for a, b in zip(gradients, wanted, strict=True):
        assert distance(a, b) < TOLERANCE[dtype]


def test_large_inputs_saturate(device):
    """No overflow where the gates are far from zero, in either direction."""
    layer = nn.LSTM(4, 8, proj_size=3)
    x = torch.tensor([1e4, -1e4, 1e30, -1e30], device=device).reshape(1, 4, 1).expand(3, 4, 4)
    x = x.contiguous().requires_grad_()
    found = LSTMFunction.apply(x, *(w.to(device) for w in weights_of(layer, torch.float32)))
    assert torch.allclose(found.cpu(), layer(x.cpu())[0], atol=1e-5)
    assert torch.autograd.grad(found.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, LOGIT_CHUNK + 40),
    size=st.integers(1, 70),
    spread=st.floats(0.01, 60.0),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_cross_entropy(where, dtype, n, size, spread, seed):
    """Loss and gradients against torch's, on the same rounded inputs."""
    if where == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    torch.manual_seed(seed)
    x, weight = torch.randn(n, 8), torch.randn(size, 8).mul(spread).to(dtype).float()
    bias, targets = torch.randn(size), torch.randint(size, (n,))
    x, weight, bias, targets = (t.to(where) for t in (x, weight, bias, targets))
    trained = [x.to(dtype).requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    loss = ChunkedCrossEntropy.apply(*trained, targets, LOGIT_CHUNK)
    logits = F.linear(trained[0], weight.to(dtype)).float()  # rounded as they are in the kernel
    expected = F.cross_entropy(logits + bias, targets, reduction="sum")
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4, abs=1e-3)
    for a, b in zip(torch.autograd.grad(loss, trained), torch.autograd.grad(expected, trained), strict=True):
        assert float((a.float() - b.float()).norm()) <= TOLERANCE[dtype] * (float(b.float().norm()) + spread)


@pytest.mark.parametrize("size", [3, 16, 37])
def test_cross_entropy_everywhere(device, size):
    """On every instruction set, also with logits far apart."""
    logits = torch.linspace(-500, 500, 4 * size, device=device).reshape(4, size)
    bias = torch.linspace(-1, 1, size, device=device)
    targets = torch.tensor([0, size - 1, 1, size // 2], device=device)
    reference = logits.double().requires_grad_()
    expected = F.cross_entropy(reference + bias.double(), targets, reduction="sum")
    gradient = torch.autograd.grad(expected, reference)[0]
    native = module.fused_ops_for(logits)
    assert native is not None
    loss = float(native.cross_entropy(logits, bias, targets))
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert torch.allclose(logits.double(), gradient, atol=1e-5)


def test_a_broken_number_is_not_hidden(device):
    """A NaN among the logits makes the loss NaN, wherever it stands."""
    for place in (0, 16, 36):
        logits = torch.zeros(1, 37, device=device)
        logits[0, place] = float("nan")
        native = module.fused_ops_for(logits)
        assert native is not None
        bias, targets = torch.zeros(37, device=device), torch.tensor([5], device=device)
        loss = float(native.cross_entropy(logits, bias, targets))
        assert loss != loss


def test_column_sums():
    x = torch.randn(7, 5)
    assert torch.allclose(column_sums(x), x.sum(0), atol=1e-5)

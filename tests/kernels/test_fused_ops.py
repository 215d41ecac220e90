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
from spacy_elmo.kernels import native_training
from spacy_elmo.kernels.binding import supported_targets
from spacy_elmo.kernels.fused_ops import LSTMFunction, column_sums
from spacy_elmo.kernels.native_training import (
    NativeLayer,
    recurrence_backward,
    recurrence_forward,
    rows_by_step,
)
from spacy_elmo.modeling.cross_entropy import ChunkedCrossEntropy

SHAPES = [  # steps, rows, P, H
    *((5, 3, 32, 64), (1, 1, 3, 5), (4, 2, 7, 7), (3, 9, 16, 33)),
    *((6, 70, 40, 100), (2, 33, 130, 260)),  # several tiles, blocks and threads
]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.03}


@pytest.fixture(params=[*supported_targets(), "triton"])
def device(request, monkeypatch):
    """Where the kernels run: each instruction set that this processor has, and Triton's."""
    if request.param != "triton":
        number = supported_targets()[request.param]
        monkeypatch.setattr(native_training, "target_number", lambda target: number)
    elif torch.cuda.is_available():
        return torch.device("cuda")
    elif os.environ.get("TRITON_INTERPRET"):
        chosen = pytest.importorskip("spacy_elmo.kernels.triton_ops").TritonFusedOps()
        monkeypatch.setitem(module.BY_DEVICE, "cpu", lambda: chosen)
        monkeypatch.setattr(native_training, "available", lambda: False)
    else:
        pytest.skip("needs a GPU")
    return torch.device("cpu")


@pytest.fixture(params=[1, 3], ids=["1 thread", "3 threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).norm() / b.norm().clamp(min=1e-12))


def weights_of(layer: nn.LSTM, dtype: torch.dtype) -> list[torch.Tensor | None]:
    found = dict(layer.named_parameters())
    bias = found["bias_ih_l0"] + found["bias_hh_l0"]
    used = [found["weight_ih_l0"], found["weight_hh_l0"], bias, found.get("weight_hr_l0")]
    return [None if w is None else w.to(dtype) for w in used]


def run(layer: nn.LSTM, x: torch.Tensor, dtype: torch.dtype, sizes: torch.Tensor) -> torch.Tensor:
    """The kernels' layer: x (T, B, P) -> (T, B, P) of its type."""
    if module.fused_ops_for(x.to(dtype)) is not None:
        return LSTMFunction.apply(x.to(dtype), *weights_of(layer, dtype)).to(x.dtype)
    weights = weights_of(layer, torch.float32)
    half = dtype == torch.bfloat16
    return NativeLayer.apply(x.float().transpose(0, 1), *weights, sizes, half).transpose(0, 1).to(x.dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.usefixtures("threads")
def test_layer_and_gradients(device, shape, dtype):
    """Against nn.LSTM in float64, of sentences of all lengths."""
    steps, rows, width, hidden = shape
    torch.manual_seed(0)
    layer = nn.LSTM(width, hidden, proj_size=width if width < hidden else 0).double().to(device)
    x, seen = (torch.randn(steps, rows, width, dtype=torch.float64, device=device) for _ in range(2))
    lengths = torch.randint(1, steps + 1, (rows,)).index_fill(0, torch.tensor(0), steps)
    inside = (torch.arange(steps)[:, None] < lengths)[..., None].to(device)
    seen = seen * inside  # what stands after a sentence is nothing to anyone
    trained = [x.requires_grad_(), *layer.parameters()]
    expected = layer(x)[0]
    found = run(layer, x, dtype, rows_by_step(lengths, steps))
    assert distance(found * inside, expected * inside) < TOLERANCE[dtype]
    wanted = torch.autograd.grad((expected * seen).sum(), trained)
    gradients = torch.autograd.grad((found * seen).sum(), trained)
    for a, b in zip(gradients, wanted, strict=True):
        assert distance(a, b) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_layers_do_not_depend_on_the_number_of_threads(dtype):
    """Nor on what their memory held before."""
    if not supported_targets():
        pytest.skip("needs the native kernel")
    torch.manual_seed(0)
    layer = nn.LSTM(40, 50, proj_size=40)
    x, before, found = torch.randn(9, 120, 40, requires_grad=True), torch.get_num_threads(), []
    lengths = torch.arange(120).flip(0) // 15 + 1
    for threads in (1, 2, 3):
        native_training.BUFFERS._free = [
            torch.full_like(buffer, 255) for buffer in native_training.BUFFERS._free
        ]
        torch.set_num_threads(threads)
        y = run(layer, x, dtype, rows_by_step(lengths, 9))
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])])
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def recurrence(rows: int, hidden: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Values that the kernel computes of a recurrence, and the same of autograd in float64."""
    torch.manual_seed(0)
    sizes = torch.tensor([rows, rows, (rows + 1) // 2, 1])
    n = int(sizes.sum())
    sums, w_hh, seen = (
        torch.randn(n, 4 * hidden),
        torch.randn(4 * hidden, hidden) / hidden**0.5,
        torch.randn(n, hidden),
    )
    x, w = sums.double().requires_grad_(), w_hh.double()
    c = m = torch.zeros(rows, hidden, dtype=torch.float64)
    outputs = []
    for part in x.split(sizes.tolist()):
        i, f, g, o = (part + m[: len(part)] @ w.t()).chunk(4, 1)
        c = f.sigmoid() * c[: len(part)] + i.sigmoid() * g.tanh()
        m = o.sigmoid() * c.tanh()
        outputs.append(m)
    expected = torch.cat(outputs)
    d_expected = torch.autograd.grad((expected * seen).sum(), x)[0]
    gates, states, found = recurrence_forward(sums, w_hh, sizes)
    d_sums = recurrence_backward(gates.clone(), states, w_hh, seen.clone(), sizes)
    return [found, d_sums], [expected, d_expected]


@pytest.mark.parametrize(("rows", "hidden"), [(1, 1), (3, 5), (5, 16), (9, 33), (70, 100), (70, 275)])
@pytest.mark.parametrize("target", list(supported_targets()))
@pytest.mark.usefixtures("threads")
def test_recurrence(target, rows, hidden, monkeypatch):
    monkeypatch.setattr(native_training, "target_number", lambda _: supported_targets()[target])
    for a, b in zip(*recurrence(rows, hidden), strict=True):
        assert distance(a, b) < 1e-5


def test_recurrence_does_not_depend_on_the_number_of_threads():
    if not supported_targets():
        pytest.skip("needs the native kernel")
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(recurrence(100, 37)[0])
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_rows_of_steps():
    assert rows_by_step(torch.tensor([5, 2, 2, 1]), 6).tolist() == [4, 3, 1, 1, 1, 0]
    assert rows_by_step(torch.tensor([1, 0, 3, 2]), 3).tolist() == [4, 4, 3]


def test_large_inputs_saturate(device):
    """No overflow where the gates are far from zero, in either direction."""
    x = torch.tensor([1e4, -1e4, 1e30, -1e30], device=device).reshape(1, 4, 1).expand(3, 4, 4)
    x = x.contiguous().requires_grad_()
    layer = (
        nn.LSTM(4, 8, proj_size=4 - 1) if module.fused_ops_for(x) is not None else nn.LSTM(4, 8, proj_size=4)
    )
    found = run(layer.to(device), x, torch.float32, torch.tensor([4, 4, 4]))
    assert torch.allclose(found.cpu(), layer.cpu()(x.cpu())[0], atol=1e-5)
    assert torch.autograd.grad(found.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 600),
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
    x, weight = torch.randn(n, 8).to(dtype).float(), torch.randn(size, 8).mul(spread).to(dtype).float()
    bias, targets = torch.randn(size), torch.randint(size, (n,))
    x, weight, bias, targets = (t.to(where) for t in (x, weight, bias, targets))
    trained = [x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    loss = ChunkedCrossEntropy.apply(*trained, targets, dtype)
    expected = F.cross_entropy(F.linear(x, weight) + bias, targets, reduction="sum")
    rough = dtype == torch.bfloat16 and where == "cuda"  # logits are rounded there
    assert float(loss.detach()) == pytest.approx(
        float(expected.detach()), rel=0.01 if rough else 1e-4, abs=1e-3
    )
    for a, b in zip(torch.autograd.grad(loss, trained), torch.autograd.grad(expected, trained), strict=True):
        assert float((a.float() - b.float()).norm()) <= TOLERANCE[dtype] * (float(b.float().norm()) + spread)


@pytest.mark.parametrize("size", [3, 16, 37, 700])
@pytest.mark.usefixtures("threads")
def test_cross_entropy_everywhere(device, size):
    """On every instruction set, with and without gradients, logits far apart, some targets left out."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(300, 4), torch.randn(size, 4), torch.linspace(-1, 1, size)
    weight[:3] *= torch.tensor([500.0, 50.0, 1.0])[:, None]
    targets = torch.randint(size, (300,)).index_fill(0, torch.arange(0, 300, 7), -1)
    trained = [t.to(device).requires_grad_() for t in (x, weight, bias)]
    reference = [t.detach().cpu().double().requires_grad_() for t in trained]
    logits = F.linear(reference[0], reference[1], reference[2])
    expected = F.cross_entropy(logits, targets, reduction="sum", ignore_index=-1)
    loss = ChunkedCrossEntropy.apply(*trained, targets.to(device), None)
    with torch.no_grad():
        alone = ChunkedCrossEntropy.apply(*(t.detach() for t in trained), targets.to(device), None)
    assert float(loss.detach()) == float(alone) == pytest.approx(float(expected.detach()), rel=1e-5)
    wanted = torch.autograd.grad(expected, reference)
    for a, b in zip(torch.autograd.grad(loss, trained), wanted, strict=True):
        assert distance(a, b) < 1e-5


def test_the_gradient_of_a_sure_target_is_not_lost_in_rounding():
    """In bfloat16, where 1 - p would be 0."""
    x, weight = torch.tensor([[1.0]]), torch.tensor([[12.0], [0.0]])
    trained = [t.requires_grad_() for t in (x, weight, torch.zeros(2))]
    loss = ChunkedCrossEntropy.apply(*trained, torch.tensor([0]), torch.bfloat16)
    left = torch.tensor(-12.0).exp()
    assert float(loss.detach()) == pytest.approx(float(left), rel=0.01)
    assert float(torch.autograd.grad(loss, trained[1])[0][0]) == pytest.approx(-float(left), rel=0.01)


def test_a_broken_number_is_not_hidden(device):
    """A NaN among the logits makes the loss NaN, wherever it stands."""
    for place in (0, 16, 36):
        x, weight = torch.ones(1, 1, device=device), torch.zeros(37, 1, device=device)
        weight[place] = float("nan")
        bias, targets = torch.zeros(37, device=device), torch.tensor([5], device=device)
        loss = float(ChunkedCrossEntropy.apply(x, weight, bias, targets, None))
        assert loss != loss


def test_column_sums():
    x = torch.randn(7, 5)
    assert torch.allclose(column_sums(x), x.sum(0), atol=1e-5)

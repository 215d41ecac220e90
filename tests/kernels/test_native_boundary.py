"""Arguments that do not fit are refused before the native kernel reads or writes."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from modeling.helpers import make_bilm

from spacy_elmo.errors import ElmoError
from spacy_elmo.inference.backends.lstm_weights import lstm_options, lstm_weights
from spacy_elmo.inference.backends.native import NativeBackend
from spacy_elmo.inference.encode import encode
from spacy_elmo.inference.inputs.input_vectors import EncodedInputs, NgramVectors
from spacy_elmo.kernels.binding import supported_targets
from spacy_elmo.kernels.native_training import (
    NativeLayer,
    recurrence_backward,
    recurrence_forward,
    softmax_loss,
)
from spacy_elmo.kernels.token_ops import (
    LayerNormParams,
    PackedMaxout,
    TokenAlignment,
    mean_layers,
    pool_tokens,
    scalar_mix,
)

ROOT = Path(__file__).parents[2]
SENTENCE = ["我", "爱", "北京", "天安门"]
WEIGHTS = np.full(3, 0.3, dtype=np.float32)
built = pytest.mark.skipif(not supported_targets(), reason="the native kernel was not built")


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype=dtype)


def read_only(array):
    array.flags.writeable = False
    return array


def unaligned(shape):
    return np.zeros(4 * int(np.prod(shape)) + 1, dtype=np.uint8)[1:].view(np.float32).reshape(shape)


def test_only_the_binding_knows_addresses():
    of_arrays = {"data_ptr", "__array_interface__", "__array_struct__", "_as_parameter_"}
    for path in (ROOT / "spacy_elmo").rglob("*.py"):
        if path.name == "binding.py":
            continue
        # syscalls.py passes paths and numbers to the system, no arrays.
        words = of_arrays | (set() if path.name == "syscalls.py" else {"ctypes", "c_void_p"})
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            names = {getattr(node, key, None) for key in ("attr", "id", "module")}
            names |= {alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)}
            assert not names & words, f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "place",
    [
        zeros(3, 2, 12),
        zeros(3, 4, 12, dtype=np.float64),
        zeros(2, 4, 12),
        zeros(3, 4, 24)[:, :, ::2],
        zeros(3, 8, 12)[:, ::2],
        zeros(3, 12, 4).transpose(0, 2, 1),
        read_only(zeros(3, 4, 12)),
        unaligned((3, 4, 12)),
        zeros(3, 4, 12, dtype=">f4"),
        [[0.0]],
        torch.zeros(3, 4, 12),
    ],
    ids=lambda place: f"{type(place).__name__} {getattr(place, 'shape', '')} {getattr(place, 'dtype', '')}",
)
@pytest.mark.parametrize("backend", [None, "torch"])
def test_a_place_that_cannot_be_written(place, backend):
    bilm = make_bilm()
    with pytest.raises(ElmoError, match=r"out\[1\] does not fit"):
        encode(bilm, [SENTENCE, SENTENCE], out=[None, place], backend=backend)


def test_places_that_can_be_written():
    bilm = make_bilm()
    expected = bilm.encode([SENTENCE])[0]
    whole = zeros(3, 9, 12)
    places = [whole[:, :4], whole[:, 5:], whole[::-1, 4:5], zeros(3, 0, 12)]
    bilm.encode([SENTENCE, SENTENCE, SENTENCE[:1], []], out=places)
    np.testing.assert_array_equal(places[0], expected)
    np.testing.assert_array_equal(places[1], expected)
    np.testing.assert_array_equal(places[2], bilm.encode([SENTENCE[:1]])[0])
    with pytest.raises(ElmoError, match="out has 1 entries for 2 sentences"):
        bilm.encode([SENTENCE] * 2, out=places[:1])
    with pytest.raises(ElmoError, match="stateful=True"):
        bilm.encode([SENTENCE], stateful=True, out=places[:1])


def route_and_inputs(**changes):
    bilm = make_bilm(units="char", n_ngrams=12)
    directions = [lstm_weights(d) for d in (bilm.forward_lm, bilm.backward_lm)]
    target = next(iter(supported_targets()))
    backend = NativeBackend(directions, lstm_options(bilm.forward_lm), torch.float32, target)
    ngrams = NgramVectors(torch.zeros(3, 6), np.zeros((9, 2), dtype=np.int64))
    ids = [np.array([0, 1, 2, 3, 4]), np.array([0, 1, 2, 4])]
    return backend, EncodedInputs(**{"ids": ids, "vectors": torch.zeros(5, 6), "ngrams": ngrams, **changes})


@built
@pytest.mark.parametrize(
    "changes",
    [
        {"vectors": torch.zeros(4, 6)},
        {"vectors": torch.zeros(5, 7)},
        {"vectors": torch.zeros(5, 6, dtype=torch.float64)},
        {"ids": [np.array([0, 1, 2, -1, 4]), np.array([0, 1, 2, 4])]},
        {"ids": [np.array([0, 1, 2, 4]), np.array([0, 1, 2, 3, 4])]},
        {"ids": [np.array([0, 1, 2, 4])]},
        {"ngrams": NgramVectors(torch.zeros(3, 7), np.zeros((9, 2), dtype=np.int64))},
        {"ngrams": NgramVectors(torch.zeros(3, 6), np.full((9, 2), 3))},
        {"ngrams": NgramVectors(torch.zeros(3, 6), np.zeros((8, 2), dtype=np.int64))},
    ],
)
def test_inputs_that_do_not_fit(changes):
    out = [zeros(3, 3, 12), zeros(3, 2, 12)]
    backend, inputs = route_and_inputs(**changes)
    with pytest.raises(ValueError, match=r"\w"):
        backend.run(inputs, out)
    backend, inputs = route_and_inputs()
    backend.run(inputs, out)
    with pytest.raises(ValueError, match="output"):
        backend.run(inputs, out[::-1])


@built
def test_weights_that_do_not_fit():
    one, other, wide = make_bilm(), make_bilm(n_layers=1), make_bilm(hidden_size=11)
    target = next(iter(supported_targets()))
    for a, b in ((one, other), (one, wide), (one, make_bilm(projection_dim=10))):
        directions = [lstm_weights(a.forward_lm), lstm_weights(b.backward_lm)]
        with pytest.raises(ValueError, match=r"\w"):
            NativeBackend(directions, lstm_options(a.forward_lm), torch.float32, target)


@built
def test_a_mix_of_what_does_not_fit():
    for layers, weights, beside in (
        ([zeros(3, 2, 8), zeros(1, 2, 8)], WEIGHTS, None),
        ([zeros(3, 2, 8), zeros(3, 2, 9)], WEIGHTS, None),
        ([zeros(4, 2, 8)], WEIGHTS, None),
        ([zeros(3, 2, 8)], WEIGHTS[:, None], None),
        ([zeros(3, 2, 8)], WEIGHTS, [zeros(1, 5)]),
        ([zeros(3, 2, 8)] * 2, WEIGHTS, [zeros(2, 5)]),
        ([zeros(3, 2, 8)] * 2, WEIGHTS, [zeros(2, 5), zeros(2, 4)]),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            scalar_mix(layers, weights, None, beside)
    with pytest.raises(ValueError, match=r"\w"):
        mean_layers([zeros(3, 2, 8), zeros(2, 2, 8)])


@built
def test_numbers_of_another_type_are_converted():
    layers = np.random.default_rng(0).normal(size=(3, 5, 8))
    for array in (layers, layers.astype(">f4"), np.asfortranarray(layers)):
        np.testing.assert_allclose(scalar_mix([array], WEIGHTS, None)[0][0], 0.3 * layers.sum(0), rtol=1e-5)
        np.testing.assert_allclose(mean_layers([array])[0], layers.mean(0), rtol=1e-5)


@built
@pytest.mark.parametrize(
    "change",
    [
        {"tokens": np.array([0, 3])},
        {"tokens": np.array([-1, 1])},
        {"tokens": np.array([1, 0])},
        {"tokens": np.array([1])},
        {"starts": np.array([0, 4])},
        {"starts": np.array([1, 0])},
        {"starts": np.array([-1, 1])},
        {"units": np.array([0, 1, 5])},
        {"units": np.array([1, 0, 2])},
        {"units": np.array([-1, 0, 2])},
        {"states": [zeros(3, 3, 8)]},
        {"states": [zeros(2, 5, 8)]},
        {"states": [zeros(3, 5, 9)]},
    ],
)
def test_units_that_are_not_there(change):
    units = TokenAlignment(
        [zeros(3, 2, 8), zeros(3, 3, 8)], 3, np.array([0, 2]), np.array([0, 2]), np.array([0, 1, 4])
    )
    assert pool_tokens([units], 3, 8)[0].shape == (3, 3, 8)
    with pytest.raises(ValueError, match=r"\w"):
        pool_tokens([units._replace(**change)], 3, 8)


@built
def test_a_maxout_of_what_does_not_fit():
    W, b = zeros(4, 3, 5), zeros(4, 3)
    for wrong in ((zeros(4, 2, 5), b), (W, zeros(3, 3)), (W, b, LayerNormParams(zeros(3), zeros(4), 0.1))):
        with pytest.raises(ValueError, match=r"\w"):
            PackedMaxout(*wrong)
    maxout = PackedMaxout(W, b)
    for parts in (
        ([zeros(2, 4)],),
        ([zeros(2, 3)], [zeros(1, 2)]),
        ([zeros(2, 3)], [zeros(2, 2)] * 2),
        ([zeros(2, 5), zeros(2, 4)],),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            maxout(*parts)


@built
def test_layers_in_training_that_do_not_fit():
    def layer(**changes):
        shapes = {"x": (2, 5, 3), "w_ih": (16, 3), "w_hh": (16, 3), "bias": (16,), "w_hr": (3, 4)}
        tensors = {
            **{name: torch.zeros(shape) for name, shape in shapes.items()},
            "sizes": torch.tensor([2] * 5),
        }
        return NativeLayer.apply(*{**tensors, **changes}.values(), False)

    assert layer().shape == (2, 5, 3)
    for name, tensor in (
        ("x", torch.zeros(2, 5, 4)),
        ("x", torch.zeros(2, 5, 3).double()),
        ("w_ih", torch.zeros(16, 4)),
        ("w_hh", torch.zeros(12, 3)),
        ("bias", torch.zeros(4)),
        ("w_hr", torch.zeros(4, 3)),
        ("w_hr", torch.zeros(3, 4, device="meta")),
        ("sizes", torch.tensor([2] * 4)),
        ("sizes", torch.tensor([3] * 5)),
        ("sizes", torch.tensor([1, 1, 2, 1, 0])),
        ("sizes", torch.tensor([2, 1, 0, 0, -1])),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            layer(**{name: tensor})


@built
@pytest.mark.parametrize("target", [5, 2**62])
def test_a_target_that_is_no_unit(target):
    x, weight, bias = torch.zeros(3, 2), torch.zeros(5, 2), torch.zeros(5)
    with pytest.raises(IndexError, match=f"Target {target} is outside the 5 units"):
        softmax_loss(x, weight, bias, torch.tensor([0, target, -1]), use_bf16=False, gradients=True)
    for wrong in ((x, weight, bias[:4]), (x, weight[:, :1], bias), (x.double(), weight, bias)):
        with pytest.raises(ValueError, match=r"\w"):
            softmax_loss(*wrong, torch.tensor([0, 1, 2]), use_bf16=False, gradients=True)


@built
def test_recurrence():
    sums, w_hh, sizes = torch.zeros(5, 12), torch.zeros(12, 3), torch.tensor([3, 2])
    assert recurrence_forward(sums.clone(), w_hh, sizes)[2].shape == (5, 3)
    for wrong in (
        (torch.zeros(5, 11), w_hh, sizes),
        (sums.double(), w_hh, sizes),
        (sums, w_hh[:8], sizes),
        *((sums, w_hh, torch.tensor(rows)) for rows in ([2, 3], [3, 1], [6, -1], [5, 5], [[3, 2]], [])),
        (sums, w_hh, sizes.int()),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            recurrence_forward(*wrong)
    for c, d_m in ((torch.zeros(4, 3), torch.zeros(5, 3)), (torch.zeros(5, 3), torch.zeros(5, 2))):
        with pytest.raises(ValueError, match=r"\w"):
            recurrence_backward(sums, c, w_hh, d_m, sizes)


@built
def test_the_weights_of_a_new_engine_are_held_while_they_are_packed():
    """Beside a thread that takes every piece of memory that was just freed."""
    code = (
        "import sys, threading, time, numpy as np\n"
        "from modeling.helpers import make_bilm\n"
        "def other():\n"
        "    while True:\n"
        "        kept = [np.arange(8 * layers) for _ in range(8)]\n"
        "        time.sleep(0)\n"
        "layers = 2\n"
        "threading.Thread(target=other, daemon=True).start()\n"
        "for _ in range(10):\n"
        "    make_bilm(projection_dim=256, hidden_size=512).encode([['我']])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, cwd=ROOT / "tests"
    )
    assert done.returncode == 0, done.stderr

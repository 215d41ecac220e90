"""Single operations of the native kernel against numpy in float64, on each instruction set of this machine.

tests/native/target_driver.cc compares the same operations under an emulator. Maxout, the scalar mix and the
layers of tokens: test_token_ops.py, pipeline/test_alignment.py. Training: test_fused_ops.py.
"""

import numpy as np
import pytest
from modeling.helpers import make_bilm

from spacy_elmo.inference.encode import encode
from spacy_elmo.kernels.binding import supported_targets
from spacy_elmo.kernels.native_interface import COMPUTE_TYPES
from spacy_elmo.kernels.single_ops import PackedMatrix, lstm_cell, peak_products, read_memory

pytestmark = pytest.mark.skipif(not supported_targets(), reason="the native kernel was not built")
TARGETS = list(supported_targets())
TOLERANCE = {"f32": 2e-6, "bf16": 0.01, "int16": 5e-4}  # of the largest result
CELL_TOLERANCE = {"f32": 1e-6, "bf16": 1e-5, "int16": 1e-5}
# Rows around the tiles of all targets (2 to 6, 16).
ROWS = (1, 2, 3, 5, 6, 7, 13, 16, 17, 33, 64)
SHAPES = [
    (1, 1),
    (2, 15),
    (31, 16),
    (33, 17),
    (127, 63),
    (129, 64),
    (130, 65),
    (256, 130),
    (1025, 70),
]  # K, N

each_target = pytest.mark.parametrize("target", TARGETS)
each_type = pytest.mark.parametrize("products", COMPUTE_TYPES)


def operands(n_inputs, n_outputs, seed=0):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(n_outputs, n_inputs)).astype("f4")
    return W, rng.normal(size=(max(ROWS), n_inputs)).astype("f4")


@each_target
@each_type
@pytest.mark.parametrize("shape", SHAPES)
def test_matmul(target, products, shape):
    W, x = operands(*shape)
    exact = x.astype("f8") @ W.T.astype("f8")
    matrix = PackedMatrix(W, products=products, target=target)
    whole = matrix(x)
    # Errors of n rounded products grow with sqrt(n), as the results do.
    np.testing.assert_allclose(whole, exact, atol=4 * TOLERANCE[products] * np.abs(exact).max())
    for n in ROWS:
        np.testing.assert_array_equal(matrix(x[-n:]), whole[-n:], err_msg=f"{n} rows")


@each_target
@each_type
def test_a_matmul_of_whole_numbers_is_exact(target, products):
    """Up to 8 bits each, so every type holds them, and sums fit into float32."""
    rng = np.random.default_rng(1)
    W, x = (rng.integers(-8, 9, size=(n, 200)).astype("f4") for n in (70, 20))
    found = PackedMatrix(W, products=products, target=target)(x)
    if (
        products == "int16"
    ):  # scaled by the largest of a row: whole numbers become 4095 / 8 of themselves, rounded
        np.testing.assert_allclose(found, x @ W.T, atol=0.5)
    else:
        np.testing.assert_array_equal(found, x @ W.T)


@each_target
@each_type
def test_damaged_numbers_show_in_a_matmul(target, products):
    W, x = operands(40, 30)
    whole = PackedMatrix(W, products=products, target=target)(x)
    quiet = np.array([0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view("f4")  # NaNs that rounding up would overflow
    for damage in (np.nan, np.inf, -np.inf, *quiet):
        damaged = x.copy()
        damaged[4, 7] = damage
        found = PackedMatrix(W, products=products, target=target)(damaged)
        assert not np.isfinite(found[4]).any()
        np.testing.assert_array_equal(np.delete(found, 4, 0), np.delete(whole, 4, 0))
    W[3, 5] = np.nan
    assert np.isnan(PackedMatrix(W, products=products, target=target)(x)[:, 3]).all()


def cells(gates, c, clip):
    i, f, g, o = np.split(gates.astype("f8"), 4, axis=1)
    sigmoid = [1 / (1 + np.exp(-each)) for each in (i, f, o)]
    state = np.clip(sigmoid[1] * c + sigmoid[0] * np.tanh(g), -clip, clip)
    return state, sigmoid[2] * np.tanh(state)


@each_target
@each_type
@pytest.mark.parametrize("hidden", [1, 7, 16, 37])
@pytest.mark.parametrize("clip", [np.inf, 0.5])
def test_lstm_cell(target, products, hidden, clip):
    rng = np.random.default_rng(2)
    gates, c = rng.normal(0, 3, (50, 4 * hidden)).astype("f4"), rng.normal(0, 2, (50, hidden)).astype("f4")
    found = lstm_cell(gates, c, cell_clip=float(clip), products=products, target=target)
    for a, b in zip(found, cells(gates, c, clip), strict=True):
        np.testing.assert_allclose(a, b, atol=CELL_TOLERANCE[products], rtol=CELL_TOLERANCE[products])


@each_target
@each_type
def test_lstm_cell_far_from_zero(target, products):
    """Gates saturate without an overflow, and zero stays zero."""
    gates = np.array([[-1e30, -1e4, -90, -30, 0, 30, 90, 1e4, 1e30]], "f4").repeat(4, 0).T  # (9, 4): H = 1
    c = np.zeros((9, 1), "f4")
    state, out = lstm_cell(gates, c, products=products, target=target)
    assert np.isfinite(state).all()
    with np.errstate(over="ignore"):
        expected = cells(gates, c, np.inf)
    np.testing.assert_allclose(state, expected[0], atol=1e-5)
    np.testing.assert_allclose(out, expected[1], atol=1e-5)
    assert state[4, 0] == out[4, 0] == 0


@each_target
@each_type
def test_ngrams_are_added_to_units(target, products):
    """Layer 0 is the sum of float32 vectors in one order, rounded to half precision but for f32."""
    bilm = make_bilm(units="char", n_ngrams=12)
    sentences = [list("我爱北京天安门"), list("爱我"), list("京")]
    found = encode(bilm, sentences, precision=products, backend=f"native {target}")
    by_torch = encode(bilm, sentences, precision="f32", backend="torch")
    for ours, theirs in zip(found, by_torch, strict=True):
        expected = theirs[0] if products == "f32" else theirs[0].astype("f2").astype("f4")
        np.testing.assert_array_equal(ours[0], expected)


@each_target
@each_type
def test_the_peaks_count_operations(target, products):
    one = peak_products(1, products=products, target=target)
    assert one > 0
    assert peak_products(3, products=products, target=target) == 3 * one
    assert read_memory(np.ones(6400, "f4"), target=target) == 6400

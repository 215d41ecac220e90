"""Operations of tasks on layers, natively: the formulas on every instruction set, in every batch."""

import numpy as np
import pytest

from spacy_elmo.kernels.binding import supported_targets
from spacy_elmo.kernels.native_interface import COMPUTE_TYPES
from spacy_elmo.kernels.token_ops import N_PIECES, LayerNormParams, PackedMaxout, mean_layers, scalar_mix

pytestmark = pytest.mark.skipif(not supported_targets(), reason="the native kernel was not built")
SETS = list(supported_targets())
SHAPES = [(512, 256), (608, 96), (1300, 10), (7, 5), (33, 20), (1, 1)]


def layers_of(lengths, width, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(1.0, 3.0, size=(3, n, width)).astype("f") for n in lengths]


@pytest.mark.parametrize("target", SETS)
@pytest.mark.parametrize("epsilon", [None, 1e-5])
@pytest.mark.parametrize("width", [5, 16, 33, 100, 512])
def test_mix(target, epsilon, width):
    layers, weights = layers_of([4, 0, 300], width), np.array([0.2, 1.5, -0.3], dtype="f")
    Ys, norms = scalar_mix(layers, weights, epsilon, target=target)
    assert (norms is None) == (epsilon is None)
    for k, (y, h) in enumerate(zip(Ys, layers, strict=True)):
        exact = h.astype("d")
        if epsilon is not None:
            mean, scale = norms[k]
            np.testing.assert_allclose(mean, exact.mean(-1), atol=1e-5)
            np.testing.assert_allclose(scale, 1 / np.sqrt(exact.var(-1) + epsilon), rtol=1e-5)
            exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + epsilon)
        np.testing.assert_allclose(y, np.einsum("l,lnd->nd", weights, exact), atol=2e-5)


@pytest.mark.parametrize("target", SETS)
@pytest.mark.parametrize("more", [0, 1, 7, 192])
def test_what_is_put_beside_a_mix(target, more):
    layers, weights = layers_of([4, 0, 300], 33), np.array([0.2, 1.5, -0.3], dtype="f")
    beside = [np.random.default_rng(1).normal(size=(h.shape[1], more)).astype("f") for h in layers]
    Ys, norms = scalar_mix(layers, weights, 1e-5, beside, target=target)
    plain, same = scalar_mix(layers, weights, 1e-5, target=target)
    for y, b, alone, a, c in zip(Ys, beside, plain, norms, same, strict=True):
        np.testing.assert_array_equal(y, np.hstack([alone, b]))
        np.testing.assert_array_equal(a, c)


@pytest.mark.parametrize("target", SETS)
@pytest.mark.parametrize("width", [5, 33, 512])
def test_means(target, width):
    layers = layers_of([4, 0, 3000], width)
    found = mean_layers(layers, target)
    for mean, h in zip(found, layers, strict=True):
        assert mean.base is None  # kept for itself, it keeps no other's memory
        np.testing.assert_allclose(mean, h.mean(0), atol=1e-5)
    assert mean_layers([], target) == []


@pytest.mark.parametrize("target", SETS)
def test_a_tokens_mix_does_not_depend_on_others(target):
    layers, weights = layers_of([300, 40], 48), np.array([0.2, 1.5, -0.3], dtype="f")
    (long, short), _ = scalar_mix(layers, weights, 1e-5, target=target)
    alone = scalar_mix([np.ascontiguousarray(layers[0][:, 137:138])], weights, 1e-5, target=target)[0][0]
    np.testing.assert_array_equal(alone, long[137:138])
    np.testing.assert_array_equal(scalar_mix(layers[1:], weights, 1e-5, target=target)[0][0], short)


def maxout_of(nI, nO, seed=0):
    rng = np.random.default_rng(seed)
    W, b = rng.normal(size=(nO, N_PIECES, nI)).astype("f"), rng.normal(size=(nO, N_PIECES)).astype("f")
    norm = LayerNormParams(rng.normal(size=nO).astype("f"), rng.normal(size=nO).astype("f"), 1e-8)
    return W / np.float32(np.sqrt(nI)), b, norm, rng.normal(size=(131, nI)).astype("f")


@pytest.mark.parametrize("target", SETS)
@pytest.mark.parametrize(("products", "tolerance"), [("f32", 2e-5), ("bf16", 0.03), ("int16", 0.005)])
@pytest.mark.parametrize("shape", SHAPES)
def test_maxout(target, products, tolerance, shape):
    W, b, norm, x = maxout_of(*shape)
    exact = (np.einsum("ni,opi->nop", x.astype("d"), W) + b).max(-1)
    found = PackedMaxout(W, b, products=products, target=target)([x])
    np.testing.assert_allclose(found, exact, atol=tolerance)
    if shape[1] == 1:
        return  # its variance is 0
    even = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + norm.epsilon)
    found = PackedMaxout(W, b, norm, products=products, target=target)([x])
    np.testing.assert_allclose(found, even * norm.gain + norm.shift, atol=6 * tolerance)


@pytest.mark.parametrize("target", SETS)
@pytest.mark.parametrize("products", COMPUTE_TYPES)
@pytest.mark.parametrize("shape", [(33, 20), (700, 20)])
def test_a_row_does_not_depend_on_others(target, products, shape):
    W, b, norm, x = maxout_of(*shape)
    maxout = PackedMaxout(W, b, norm, products=products, target=target)
    whole = maxout([x])
    for rows in (slice(0, 0), slice(0, 1), slice(3, 10), slice(60, 131)):
        np.testing.assert_array_equal(maxout([x[rows]]), whole[rows])


@pytest.mark.parametrize("target", SETS)
@pytest.mark.parametrize("products", COMPUTE_TYPES)
def test_parts_side_by_side_are_one_row(target, products):
    W, b, norm, x = maxout_of(33, 20)
    maxout = PackedMaxout(W, b, norm, products=products, target=target)
    left, right = x[:, :5], x[:, 5:]
    cuts = [(0, 40), (40, 40), (40, 131)]
    found = maxout([left[i:j] for i, j in cuts], [right[i:j] for i, j in cuts])
    np.testing.assert_array_equal(found, maxout([x]))


@pytest.mark.parametrize("target", SETS)
@pytest.mark.parametrize("products", COMPUTE_TYPES)
def test_damage_shows_where_it_is_read(target, products):
    W, b, _, x = maxout_of(33, 20)
    whole = PackedMaxout(W, b, products=products, target=target)([x])
    for damage in (np.nan, np.inf, -np.inf):
        damaged = x.copy()
        damaged[7, 3] = damage
        found = PackedMaxout(W, b, products=products, target=target)([damaged])
        assert not np.isfinite(found[7]).all()
        np.testing.assert_array_equal(np.delete(found, 7, 0), np.delete(whole, 7, 0))
    broken = W.copy()
    broken[4, 2, 0] = np.nan
    assert np.isnan(PackedMaxout(broken, b, products=products, target=target)([x])[:, 4]).all()


def test_weights_are_copied():
    W, b, norm, x = maxout_of(8, 4)
    maxout = PackedMaxout(W, b, norm)
    before = maxout([x])
    for array in (W, b, norm.gain, norm.shift):
        array += 1
    np.testing.assert_array_equal(maxout([x]), before)

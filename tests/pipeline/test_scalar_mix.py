"""The scalar mix: its formula, its gradients, its dropout."""

import numpy as np
import pytest
from thinc.api import Adam, fix_random_seed, get_current_ops, set_dropout_rate

from spacy_elmo.pipeline.layers.scalar_mix import ScalarMix, dropout_mask

L, D = 3, 5


@pytest.fixture
def layers():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(L, n, D)).astype("f") for n in (4, 0, 2)]


def make(**settings):
    mix = ScalarMix(L, **settings)
    mix.initialize()
    mix.set_param("w", np.array([0.3, -0.7, 0.2], dtype="f"))
    mix.set_param("gamma", np.array([1.3], dtype="f"))
    return mix


def test_formula(layers):
    mix = make()
    s = np.exp(mix.get_param("w"))
    s /= s.sum()
    for Y, h in zip(mix.predict(layers), layers, strict=True):
        np.testing.assert_allclose(Y, 1.3 * sum(s[j] * h[j] for j in range(L)), rtol=1e-5, atol=1e-6)


def test_starts_as_the_plain_average(layers):
    mix = ScalarMix(L)
    mix.initialize()
    for Y, h in zip(mix.predict(layers), layers, strict=True):
        np.testing.assert_allclose(Y, h.mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [[], [np.zeros((L, 0, D), dtype="f")]])
def test_empty_batches(batch):
    Y, backprop = make()(batch, is_train=True)
    assert [len(y) for y in Y] == [0] * len(batch)
    assert backprop(Y) == []


def test_normalised_layers(layers):
    """Each has the same say, whatever its scale; vectors of zeros stay zeros."""
    mix = make(layer_norm=True)
    s = np.exp(mix.get_param("w"))
    s /= s.sum()
    for Y, h in zip(mix.predict(layers), layers, strict=True):
        even = (h - h.mean(-1, keepdims=True)) / h.std(-1, keepdims=True)
        np.testing.assert_allclose(Y, 1.3 * sum(s[j] * even[j] for j in range(L)), rtol=1e-4, atol=1e-4)
    louder = [h * np.array([100, 1, 10], dtype="f")[:, None, None] + 3 for h in layers]
    for Y, other in zip(mix.predict(layers), mix.predict(louder), strict=True):
        np.testing.assert_allclose(Y, other, rtol=1e-3, atol=1e-3)
    assert not mix.predict([np.zeros((L, 2, D), dtype="f")])[0].any()


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("weight_penalty", [0.0, 0.1])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_gradients_against_finite_differences(layers, dropout, weight_penalty, layer_norm):
    mix = make(mix_dropout=dropout, weight_penalty=weight_penalty, layer_norm=layer_norm)
    n_tokens = sum(h.shape[1] for h in layers)
    target = [np.random.default_rng(1).normal(size=h.shape[1:]).astype("f") for h in layers]

    def loss():
        fix_random_seed(3)  # the same mask each time
        Y, backprop = mix(layers, is_train=True)
        data = sum(float((y.astype("d") * t).sum()) for y, t in zip(Y, target, strict=True))
        return data + n_tokens * weight_penalty * float((mix.get_param("w").astype("d") ** 2).sum()), backprop

    _, backprop = loss()
    backprop(target)
    for name in ("w", "gamma"):
        value, gradient = mix.get_param(name).copy(), mix.get_grad(name).copy()
        for i in range(len(value)):
            ends = []
            for step in (+1e-2, -1e-2):
                moved = value.copy()
                moved[i] += step
                mix.set_param(name, moved)
                ends.append(loss()[0])
            mix.set_param(name, value)
            assert gradient[i] == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=2e-3, abs=2e-3)


def test_l2_is_for_w_alone_and_the_same_in_any_split(layers):
    zero = [np.zeros(h.shape[1:], dtype="f") for h in layers]
    whole, split = make(weight_penalty=0.1), make(weight_penalty=0.1)
    whole(layers, is_train=True)[1](zero)
    for h, d in zip(layers, zero, strict=True):
        split([h], is_train=True)[1]([d])
    assert whole.get_grad("gamma") == 0.0
    np.testing.assert_allclose(whole.get_grad("w"), 2 * 0.1 * 6 * whole.get_param("w"), rtol=1e-5)
    np.testing.assert_allclose(whole.get_grad("w"), split.get_grad("w"), rtol=1e-5)


def test_dropout_is_for_training_only(layers):
    mix = make(mix_dropout=0.5)
    still = np.concatenate(mix.predict(layers))
    np.testing.assert_array_equal(still, np.concatenate(mix.predict(layers)))
    noisy = np.concatenate(mix(layers, is_train=True)[0])
    dropped = noisy == 0.0
    assert 0 < dropped.sum() < dropped.size
    np.testing.assert_allclose(noisy[~dropped], 2.0 * still[~dropped], rtol=1e-5)


def test_dropout_is_the_mixs_own_and_follows_the_seed(layers):
    mix = make(mix_dropout=0.5)
    set_dropout_rate(mix, 0.0)
    fix_random_seed(0)
    first = mix(layers, is_train=True)[0]
    second = mix(layers, is_train=True)[0]
    fix_random_seed(0)
    again = mix(layers, is_train=True)[0]
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    assert (np.concatenate(first) != np.concatenate(second)).any()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_mask_keeps_the_expectation(rate):
    fix_random_seed(0)
    mask = dropout_mask(get_current_ops(), (500, 400), rate)
    assert mask.dtype == np.float32
    assert (mask == 0).mean() == pytest.approx(rate, abs=0.01)
    assert mask.mean() == pytest.approx(1.0, abs=0.03)


def test_learns_which_layer_matters(layers):
    mix = ScalarMix(L, mix_dropout=0.0, weight_penalty=0.0)
    mix.initialize()
    optimizer = Adam(0.05)
    for _ in range(150):
        Y, backprop = mix(layers, is_train=True)
        backprop([y - 2.0 * h[1] for y, h in zip(Y, layers, strict=True)])
        mix.finish_update(optimizer)
    assert mix.get_param("w").argmax() == 1
    assert mix.get_param("gamma")[0] == pytest.approx(2.0, abs=0.3)


def test_copy_and_bytes(layers):
    mix = make()
    fresh = ScalarMix(None)
    fresh.from_bytes(mix.to_bytes())
    for other in (mix.copy(), fresh):
        np.testing.assert_array_equal(
            np.concatenate(other.predict(layers)), np.concatenate(mix.predict(layers))
        )


@pytest.mark.parametrize("settings", [{"mix_dropout": 1.0}, {"mix_dropout": -0.1}, {"weight_penalty": -1.0}])
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="give"):
        ScalarMix(L, **settings)


def test_what_is_fixed_is_not_trained(layers):
    mix = ScalarMix(L, mix_dropout=0.0, fixed_gamma=0.1, fixed_weights=[0, 2, 2])
    mix.initialize()
    before = mix.to_bytes()
    optimizer = Adam(0.1)
    Y, backprop = mix(layers, is_train=True)
    for y, h in zip(Y, layers, strict=True):
        np.testing.assert_allclose(y, 0.1 * (h[1] + h[2]) / 2, rtol=1e-5, atol=1e-6)
    backprop(Y)
    mix.finish_update(optimizer)
    assert mix.to_bytes() == before
    for name, settings in (("w", {"fixed_gamma": 2.0}), ("gamma", {"fixed_weights": [1, 1, 1]})):
        other = ScalarMix(L, **settings)
        other.initialize()
        Y, backprop = other(layers, is_train=True)
        backprop(Y)
        assert other.has_grad(name)
        assert not other.has_grad("gamma" if name == "w" else "w")


@pytest.mark.parametrize("weights", [[], [0, 0, 0], [1, -1, 1], [1, 1]])
def test_fixed_weights_that_do_not_fit(weights):
    with pytest.raises(ValueError, match="a number for each"):
        ScalarMix(L, fixed_weights=weights).initialize()

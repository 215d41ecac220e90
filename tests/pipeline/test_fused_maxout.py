"""FusedMaxout: thinc's layers in training, the native kernel in prediction; inputs that do not fit."""

import numpy as np
import pytest
from thinc.api import Model, NumpyOps

from spacy_elmo.kernels.token_ops import available
from spacy_elmo.pipeline.layers import packed_maxout
from spacy_elmo.pipeline.layers.packed_maxout import set_fused

from .fused_maxout_helpers import WIDTH, assert_predicts_as_thinc, columns, make, native, thincs_own


@pytest.mark.parametrize("widths", [(33,), (5, 28), (16, 1, 16)])
def test_predicts_what_thinc_predicts(widths):
    model, X = make(*widths)
    assert_predicts_as_thinc(model, X, *widths)
    if available():  # the same bits in every batch
        for x, y in zip(X, model.predict(X), strict=True):
            np.testing.assert_array_equal(model.predict([x])[0], y)


@pytest.mark.parametrize("reason", ["setting", "kernel", "plugin"])
def test_else_it_is_thincs_own_to_the_bit(monkeypatch, reason):
    class AppleOps(NumpyOps):
        name = "apple"

    model, X = make(5, 28)
    if reason == "setting":
        set_fused(model, False)
    elif reason == "kernel":
        monkeypatch.setattr(packed_maxout, "available", lambda: False)
    else:
        for node in model.walk():
            node.ops = AppleOps()
    for y, expected in zip(model.predict(X), thincs_own(model, 5, 28).predict(X), strict=True):
        np.testing.assert_array_equal(y, expected)


def test_training_is_thincs_own_to_the_bit():
    model, X = make(5, 28)
    own = thincs_own(model, 5, 28)
    rng = np.random.default_rng(1)
    dY = [rng.normal(size=(len(x), WIDTH)).astype("f") for x in X]
    for each in (own, model):
        each(X, is_train=True)[1](dY)
    for node, other in zip(own.walk(), model.walk(), strict=True):
        for name in node.param_names:
            np.testing.assert_array_equal(other.get_grad(name), node.get_grad(name))


@native
def test_no_gradient_through_a_prediction():
    model, X = make(33)
    Y, backprop = model(X, is_train=False)
    with pytest.raises(ValueError, match="call begin_update"):
        backprop(Y)


# --- Errors ---


@pytest.mark.parametrize("width", [4, 6])
def test_inputs_that_do_not_fit_are_never_read(width):
    model, X = make(5, 28)
    model.layers[0].layers[0] = columns(0, width)
    with pytest.raises(ValueError, match="Shape mismatch"):
        model.predict(X)


def test_inputs_of_different_lengths_are_never_read():
    def shorter(model, X, is_train):
        return [x[1:, :5] for x in X], lambda dY: dY

    model, X = make(5, 28)
    model.layers[0].layers[0] = Model("shorter", shorter)
    with pytest.raises(ValueError, match="dimension"):  # numpy's words
        model.predict(X)

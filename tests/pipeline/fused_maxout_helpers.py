"""Layers, a reference and counts of packings for the tests of FusedMaxout."""

import numpy as np
import pytest
from thinc.api import Maxout, Model, chain, concatenate, with_array

from spacy_elmo.kernels.token_ops import available
from spacy_elmo.pipeline.layers.fused_maxout import FusedMaxout

native = pytest.mark.skipif(not available(), reason="the native kernel was not built")
WIDTH = 20


def columns(begin, end):
    """A layer that gives some columns of what it gets."""

    def forward(model, X, is_train):
        return [x[:, begin:end] for x in X], lambda dY: [np.zeros((len(d), 0), dtype="f") for d in dY]

    return Model("columns", forward, dims={"nO": end - begin})


def inputs(widths):
    ends = np.cumsum(widths).tolist()
    return [columns(end - width, end) for end, width in zip(ends, widths, strict=True)]


def make(*widths):
    """A layer with random weights, and rows for it."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, sum(widths))).astype("f") for n in (3, 0, 70, 1)]
    model = FusedMaxout(*inputs(widths), width=WIDTH)
    model.initialize(X=X)
    for node in model.walk():
        for name in node.param_names:
            node.set_param(name, node.get_param(name) + np.float32(0.1))
    return model, X


def thincs_own(model, *widths):
    """The result of thinc's layers alone."""
    maxout = Maxout(WIDTH, sum(widths), 3, dropout=0.0, normalize=True)
    own = chain(concatenate(*inputs(widths)), with_array(maxout))
    for node, other in zip(own.walk(), model.walk(), strict=True):
        assert node.param_names == other.param_names
        for name in node.param_names:
            node.set_param(name, other.get_param(name))
    return own


def assert_predicts_as_thinc(model, X, *widths):
    for y, expected in zip(model.predict(X), thincs_own(model, *widths).predict(X), strict=True):
        np.testing.assert_allclose(y, expected, atol=1e-5)

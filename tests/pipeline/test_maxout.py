"""Maxouts of the tasks that listen: in prediction what thinc's own give, in training thinc's own."""

import pickle

import numpy as np
import pytest
from thinc.api import Maxout, NumpyOps

from spacy_elmo.bilm.inference.tasks import available
from spacy_elmo.pipeline.maxout import InOnePass
from spacy_elmo.pipeline.products import hasten

from .helpers import blank, tagger_config, train

native = pytest.mark.skipif(not available(), reason="the native kernel was not built")
TEXT = "我去银行取钱。"


def make(pieces=3, **settings):
    model = Maxout(20, 33, pieces, **settings)
    model.initialize()
    X = np.random.default_rng(0).normal(size=(50, 33)).astype("f")
    for node in model.walk():
        for name in node.param_names:
            node.set_param(name, node.get_param(name) + np.float32(0.1))
    return model, X


@pytest.mark.parametrize(
    "settings",
    [{}, {"normalize": True}, {"normalize": True, "dropout": 0.5}, {"pieces": 2, "normalize": True}],
)
def test_predicts_what_thinc_predicts(settings):
    model, X = make(**settings)
    own = model.predict(X)
    hasten(hasten(model))
    np.testing.assert_allclose(model.predict(X), own, atol=1e-5)
    some, all_ = model.predict(X[:7]), model.predict(X)[:7]
    np.testing.assert_allclose(some, all_, atol=1e-5)
    if available() and "pieces" not in settings:  # the native kernel's: the same bits in every batch
        np.testing.assert_array_equal(some, all_)


@native
def test_follows_weights_that_are_learnt_in_place():
    model, X = make(normalize=True)
    hasten(model)
    before = model.predict(X)
    for node in model.walk():
        for name in node.param_names:
            node.get_param(name)[:] *= 2
    after = model.predict(X)
    for node in model.walk():
        node.ops = NumpyOps()
        if isinstance(node._func, InOnePass):
            node._func = node._func.own
    np.testing.assert_allclose(model.predict(X), after, atol=1e-5)
    assert np.abs(before - after).max() > 0.1


@native
def test_training_is_thincs_own():
    model, X = make(normalize=True)
    own = model.copy()
    hasten(model)
    dY = np.random.default_rng(1).normal(size=(50, 20)).astype("f")
    dX = [each(X, is_train=True)[1](dY) for each in (own, model)]
    np.testing.assert_allclose(*dX, atol=1e-5)
    with pytest.raises(ValueError, match="begin an update"):
        model(X, is_train=False)[1](dY)


@native
def test_copies_and_pickles():
    model, X = make(normalize=True)
    hasten(model)
    callback = model._func
    callback.half = True
    model.predict(X)
    again = pickle.loads(pickle.dumps(callback))
    assert again.half
    np.testing.assert_array_equal(again(model, X, False)[0], model.predict(X))
    np.testing.assert_array_equal(model.copy().predict(X), model.predict(X))


@native
@pytest.mark.parametrize(("precision", "half"), [("f32", False), ("bf16", True)])
def test_what_reads_elmo_predicts_in_its_precision(char_model, precision, half):
    nlp = blank(char_model)
    nlp.get_pipe("elmo").model.shims[0].precision = precision
    tagger = nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=3)
    found = {
        (node.name, node._func.half) for node in tagger.model.walk() if isinstance(node._func, InOnePass)
    }
    assert ("maxout>>layernorm", half) in found  # the joint's
    assert ("maxout>>layernorm", False) in found  # the task's own
    assert [token.tag_ for token in nlp(TEXT)]

"""Maxouts of the tasks that listen: in prediction what thinc's own give, in training thinc's own."""

import pickle

import numpy as np
import pytest
from thinc.api import Maxout, Model, NumpyOps, chain, concatenate, with_array

from spacy_elmo.kernels.token_ops import available
from spacy_elmo.pipeline.layers.fused_maxout import FusedConcatMaxout, FusedMaxout
from spacy_elmo.pipeline.layers.with_minibatches import with_minibatches
from spacy_elmo.pipeline.onednn_ops import accelerate

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
    accelerate(accelerate(model))
    np.testing.assert_allclose(model.predict(X), own, atol=1e-5)
    some, all_ = model.predict(X[:7]), model.predict(X)[:7]
    np.testing.assert_allclose(some, all_, atol=1e-5)
    if available() and "pieces" not in settings:  # the native kernel's: the same bits in every batch
        np.testing.assert_array_equal(some, all_)


@native
def test_follows_weights_that_are_learnt_in_place():
    model, X = make(normalize=True)
    accelerate(model)
    before = model.predict(X)
    for node in model.walk():
        for name in node.param_names:
            node.get_param(name)[:] *= 2
    after = model.predict(X)
    for node in model.walk():
        node.ops = NumpyOps()
        if isinstance(node._func, FusedMaxout):
            node._func = node._func.own
    np.testing.assert_allclose(model.predict(X), after, atol=1e-5)
    assert np.abs(before - after).max() > 0.1


@native
def test_training_is_thincs_own():
    model, X = make(normalize=True)
    own = model.copy()
    accelerate(model)
    dY = np.random.default_rng(1).normal(size=(50, 20)).astype("f")
    dX = [each(X, is_train=True)[1](dY) for each in (own, model)]
    np.testing.assert_allclose(*dX, atol=1e-5)
    with pytest.raises(ValueError, match="call begin_update"):
        model(X, is_train=False)[1](dY)


@native
def test_copies_and_pickles():
    model, X = make(normalize=True)
    accelerate(model)
    callback = model._func
    callback.products = "bf16"
    model.predict(X)
    again = pickle.loads(pickle.dumps(callback))
    assert again.products == "bf16"
    np.testing.assert_array_equal(again(model, X, False)[0], model.predict(X))
    np.testing.assert_array_equal(model.copy().predict(X), model.predict(X))


@native
@pytest.mark.parametrize("precision", ["f32", "bf16", "int16"])
def test_who_listens_predicts_in_the_precision_of_elmo(char_model, precision):
    nlp = blank(char_model)
    nlp.get_pipe("elmo").model.shims[0].precision = precision
    tagger = nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=3)
    callbacks = [node._func for node in tagger.model.walk() if isinstance(node._func, FusedMaxout)]
    assert {callback.products for callback in callbacks} == {precision}
    assert sum(isinstance(node._func, FusedConcatMaxout) for node in tagger.model.walk()) == 1
    assert [token.tag_ for token in nlp(TEXT)]


def make_joint(*widths):
    """Layers that give columns of what they get, and a Maxout of all."""
    ends = np.cumsum(widths)
    layers = [columns(end - width, end) for end, width in zip(ends, widths, strict=True)]
    maxout = Maxout(20, int(ends[-1]), 3, normalize=True, dropout=0.0)  # as architectures.py has it
    joint = chain(concatenate(*layers) if len(layers) > 1 else layers[0], with_array(maxout))
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, ends[-1])).astype("f") for n in (3, 0, 70, 1)]
    joint.initialize(X=X)
    return joint, X


def columns(begin, end):
    def forward(model, X, is_train):
        def backprop(dY):
            return [np.zeros((len(dy), model.attrs["width"]), dtype="f") for dy in dY]

        return [x[:, begin:end] for x in X], backprop

    return Model("columns", forward, attrs={"width": int(end)}, dims={"nO": int(end - begin)})


@pytest.mark.parametrize("widths", [(33,), (5, 28), (16, 1, 16)])
def test_a_joint_predicts_what_thinc_predicts(widths):
    joint, X = make_joint(*widths)
    own = joint.predict(X)
    accelerate(with_minibatches(joint, 20))
    assert isinstance(joint._func, FusedConcatMaxout) == available()
    again = pickle.loads(pickle.dumps(joint._func))
    for y, expected, same in zip(joint.predict(X), own, again(joint, X, False)[0], strict=True):
        np.testing.assert_allclose(y, expected, atol=1e-5)
        np.testing.assert_array_equal(y, same)
    Y, backprop = joint(X, is_train=True)
    assert [y.shape for y in Y] == [y.shape for y in own]
    backprop([np.ones_like(y) for y in Y])
    assert all(node.has_grad("W") for node in joint.walk() if node.name == "maxout")
    if available():
        with pytest.raises(ValueError, match="call begin_update"):
            joint(X, is_train=False)[1](Y)


def shorter(model, X, is_train):
    return [x[:-1, :5] for x in X], lambda dY: dY


def narrower(model, X, is_train):
    return [x[:, : 5 - i] for i, x in enumerate(X)], lambda dY: dY


@native
@pytest.mark.parametrize("wrong", [shorter, narrower])
def test_parts_that_do_not_fit_are_never_read(wrong):
    joint, X = make_joint(5, 28)
    accelerate(with_minibatches(joint, 20))
    joint.layers[0].layers[0]._func = wrong
    with pytest.raises(ValueError, match=r"dimension|numbers"):  # numpy's words, or ours
        joint.predict(X)


@native
def test_a_joint_has_words_for_what_is_wrong():
    joint, X = make_joint(5, 28)
    accelerate(with_minibatches(joint, 20))
    with pytest.raises(ValueError, match="20 numbers"):
        joint.predict([x[:, :20] for x in X])

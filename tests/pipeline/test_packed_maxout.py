"""Packed weights of FusedMaxout: a prediction uses the current weights, which are packed once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thinc.api import SGD, Adam

from .fused_maxout_helpers import assert_predicts_as_thinc, make, native


def update(model, X, optimizer):
    Y, backprop = model(X, is_train=True)
    backprop([np.ones_like(y) for y in Y])
    model.finish_update(optimizer)


def set_param(model, X, state):
    for node in model.walk():
        for name in node.param_names:
            node.set_param(name, node.get_param(name) * np.float32(1.1))
    return model


def learn(optimizer):
    def step(model, X, state):
        update(model, X, state.setdefault(optimizer, optimizer(0.01)))
        return model

    return step


def accumulate_gradients(model, X, state):
    Y, backprop = model(X, is_train=True)
    backprop([np.ones_like(y) for y in Y])
    return model


def finish_update(model, X, state):
    model.finish_update(state.setdefault(SGD, SGD(0.01)))
    return model


def write_into_arrays(model, X, state):
    """Train a layer as other code may."""
    model(X, is_train=True)
    for node in model.walk():
        for name in node.param_names:
            node.get_param(name)[:] *= np.float32(0.9)
    return model


def use_averages(model, X, state):
    averages = {
        (node.id, name): node.get_param(name) * 2 for node in model.walk() for name in node.param_names
    }
    with model.use_params(averages):
        assert_predicts_as_thinc(model, X, 5, 28)
        for array in averages.values():
            array *= np.float32(0.7)  # in place, as an optimizer does
    with model.use_params(averages):
        assert_predicts_as_thinc(model, X, 5, 28)
    return model


def from_bytes(model, X, state):
    other, _ = make(5, 28)
    return model.from_bytes(set_param(other, X, state).to_bytes())


def copy(model, X, state):
    copied = model.copy()
    set_param(copied, X, state)
    assert_predicts_as_thinc(model, X, 5, 28)
    return copied


def to_cpu(model, X, state):
    model.to_cpu()
    return model


CHANGES = [
    set_param,
    learn(SGD),
    learn(Adam),
    accumulate_gradients,
    finish_update,
    write_into_arrays,
    use_averages,
    from_bytes,
    copy,
    to_cpu,
]


@given(st.lists(st.sampled_from(CHANGES), max_size=6))
@settings(max_examples=40, deadline=None)
def test_predicts_with_the_weights_of_now(changes):
    model, X = make(5, 28)
    state = {}
    for change in changes:
        model.predict(X)
        model = change(model, X, state)
        assert_predicts_as_thinc(model, X, 5, 28)


@native
def test_weights_are_packed_once(packings):
    model, X = make(5, 28)
    for _ in range(3):
        model.predict(X)
    assert len(packings) == 1
    update(model, X, SGD(0.01))
    for _ in range(3):
        model.predict(X)
    assert len(packings) == 2


@native
def test_threads_predict_the_same():
    model, X = make(5, 28)
    expected = model.copy().predict(X)
    gate = threading.Barrier(8)

    def predict(_):
        gate.wait()
        return model.predict(X)

    with ThreadPoolExecutor(8) as pool:
        for Y in pool.map(predict, range(8)):
            for y, other in zip(Y, expected, strict=True):
                np.testing.assert_array_equal(y, other)


@pytest.mark.parametrize("optimizer", [SGD(0.01), Adam(0.01)])
def test_training_next_to_prediction_leaves_nothing_behind(optimizer):
    model, X = make(5, 28)
    ready, stop = threading.Event(), threading.Event()

    def predict():
        while not stop.is_set():
            model.predict(X)
            ready.set()

    thread = threading.Thread(target=predict)
    thread.start()
    assert ready.wait(60)
    for _ in range(20):
        update(model, X, optimizer)
    stop.set()
    thread.join()
    assert_predicts_as_thinc(model, X, 5, 28)

"""The BiLSTM layer against torch's own, its gradients, and sequences that are cut."""

import numpy as np
import pytest
import torch

from spacy_elmo.tasks.lexical import bilstm
from spacy_elmo.tasks.lexical.bilstm import DIRECTIONS, WEIGHTS, BiLSTM

WIDTH, INPUTS = 10, 7


@pytest.fixture(params=["native", "torch"])
def layer(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(bilstm, "fused_ops_for", lambda x: None)
        monkeypatch.setattr(bilstm, "trains", lambda x: False)
    np.random.seed(0)
    model = BiLSTM(WIDTH, precision="f32")
    model.initialize(X=[np.zeros((3, INPUTS), dtype="f")])
    return model


def sequences(*lengths):
    rng = np.random.default_rng(1)
    return [rng.normal(size=(n, INPUTS)).astype("f") for n in lengths]


def torch_lstm(model):
    lstm = torch.nn.LSTM(INPUTS, WIDTH // 2, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for direction, suffix in zip(DIRECTIONS, ("", "_reverse"), strict=True):
            names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")
            for name, weight in zip(names, WEIGHTS, strict=True):
                value = torch.from_numpy(model.get_param(f"{direction}_{weight}"))
                getattr(lstm, name + suffix).copy_(value)
            getattr(lstm, "bias_hh_l0" + suffix).zero_()
    return lstm


def test_states_and_gradients_are_those_of_torch(layer):
    Xs = sequences(4, 9, 1, 4)
    lstm = torch_lstm(layer)
    inputs = [torch.from_numpy(X).requires_grad_() for X in Xs]
    expected = [lstm(x[None])[0][0] for x in inputs]
    Ys, backprop = layer.begin_update(Xs)
    for Y, predicted, y in zip(Ys, layer.predict(Xs), expected, strict=True):
        np.testing.assert_allclose(Y, y.detach(), atol=1e-5)
        np.testing.assert_allclose(predicted, y.detach(), atol=1e-5)
    dYs = [np.cos(np.arange(Y.size, dtype="f")).reshape(Y.shape) for Y in Ys]
    dXs = backprop(dYs)
    torch.autograd.backward(expected, [torch.from_numpy(dY) for dY in dYs])
    for dX, x in zip(dXs, inputs, strict=True):
        np.testing.assert_allclose(dX, x.grad, atol=1e-4)
    for direction, suffix in zip(DIRECTIONS, ("", "_reverse"), strict=True):
        for name, weight in zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"), WEIGHTS, strict=True):
            gradient = getattr(lstm, name + suffix).grad
            np.testing.assert_allclose(layer.get_grad(f"{direction}_{weight}"), gradient, atol=1e-4)


def test_a_prediction_depends_on_its_sequence_alone(layer):
    Xs = sequences(5, 3, 8, 5000)
    together = layer.predict(Xs)
    for X, Y in zip(Xs, together, strict=True):
        np.testing.assert_allclose(layer.predict([X])[0], Y, atol=1e-5)


def test_long_sequences_are_read_in_pieces_without_a_seam(layer):
    (X,) = sequences(3 * bilstm.MAX_LENGTH)
    whole, _ = layer.begin_update([X])
    np.testing.assert_allclose(layer.predict([X])[0], whole[0], atol=1e-3)


def test_empty_sequences_are_empty(layer):
    Xs = [*sequences(0, 2, 0)]
    assert [len(Y) for Y in layer.predict(Xs)] == [0, 2, 0]
    Ys, backprop = layer.begin_update(Xs)
    assert [len(dX) for dX in backprop(Ys)] == [0, 2, 0]


def test_dropout_drops_in_training_only(layer):
    Xs = sequences(6)
    layer.attrs["dropout_rate"] = 0.5
    np.testing.assert_array_equal(layer.predict(Xs)[0], layer.predict(Xs)[0])
    assert not np.allclose(layer.begin_update(Xs)[0][0], layer.predict(Xs)[0])


def test_bf16_is_close_to_f32():
    np.random.seed(0)
    Xs, found = sequences(5, 8), []
    for precision in ("f32", "bf16"):
        np.random.seed(0)
        model = BiLSTM(WIDTH, precision=precision)
        model.initialize(X=Xs)
        Ys, backprop = model.begin_update(Xs)
        dXs = backprop([np.ones_like(Y) for Y in Ys])
        found.append(np.concatenate([*Ys, *dXs], axis=None))
    np.testing.assert_allclose(*found, atol=0.05)


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="even"):
        BiLSTM(7)

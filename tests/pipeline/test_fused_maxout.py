"""FusedMaxout: thinc's layers in training, the native kernel in prediction, with the weights of now."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from thinc.api import SGD, Adam, Maxout, Model, NumpyOps, chain, concatenate, set_dropout_rate, with_array

from spacy_elmo.kernels.token_ops import available
from spacy_elmo.pipeline.layers import packed_maxout
from spacy_elmo.pipeline.layers.fused_maxout import FusedMaxout
from spacy_elmo.pipeline.layers.packed_maxout import set_fused

from .helpers import blank, tagger_config, tok2vec, train

native = pytest.mark.skipif(not available(), reason="the native kernel was not built")
TEXTS = ["我去银行取钱。", "", " ", "他打球，我打字。" * 20]
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


def update(model, X, optimizer):
    Y, backprop = model(X, is_train=True)
    backprop([np.ones_like(y) for y in Y])
    model.finish_update(optimizer)


@pytest.fixture
def packings(monkeypatch):
    """One item for each time that weights were packed."""
    made = []
    pack = packed_maxout.PackedMaxout
    monkeypatch.setattr(
        packed_maxout, "PackedMaxout", lambda *args, **kw: made.append(args) or pack(*args, **kw)
    )
    return made


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


# --- Weights ---


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


# --- In a pipeline ---


LISTENER = {"@architectures": "spacy-elmo.ElmoListener.v1", "mix_dropout": 0.0}
PATHS = ["model.tok2vec.tok2vec.embed.elmo", "model.tok2vec.elmo"]


def at_both_ends(model_folder, **elmo):
    """A trained tagger with a ConcatEmbed and a ConcatOutput. elmo: settings of the component."""
    output = {"@architectures": "spacy-elmo.ConcatOutput.v1", "width": 24, "elmo": LISTENER}
    embed = tok2vec(mix_dropout=0.0)
    tagger = {**tagger_config()["model"], "tok2vec": {**output, "tok2vec": embed}}
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": str(model_folder)}, **elmo})
    nlp.add_pipe("tagger", config={"model": tagger})
    train(nlp, steps=3)
    return nlp


def vectors(nlp):
    """Return the output of the tagger's ConcatOutput."""
    docs = [nlp.make_doc(text) for text in TEXTS]
    if "elmo" in nlp.pipe_names:
        docs = list(nlp.get_pipe("elmo").pipe(docs))
    return nlp.get_pipe("tagger").model.layers[0].predict(docs)


@native
@pytest.mark.parametrize("precision", ["f32", "bf16", "int16"])
def test_products_have_the_precision_of_elmo(char_model, monkeypatch, precision):
    nlp = at_both_ends(char_model, model={"path": str(char_model), "precision": precision})
    asked = []
    pack = packed_maxout.PackedMaxout
    monkeypatch.setattr(
        packed_maxout,
        "PackedMaxout",
        lambda *args, products: asked.append(products) or pack(*args, products=products),
    )
    vectors(nlp)
    assert asked == [precision] * 2
    nlp.replace_listeners("elmo", "tagger", PATHS)
    nlp.remove_pipe("elmo")
    vectors(pickle.loads(pickle.dumps(nlp)))
    assert asked == [precision] * 4


@native
def test_replaced_listeners_have_fused_layers(char_model, tmp_path, packings):
    nlp = at_both_ends(char_model)
    expected = vectors(nlp)
    nlp.replace_listeners("elmo", "tagger", PATHS)
    nlp.remove_pipe("elmo")
    nlp.to_disk(tmp_path)
    packings.clear()
    alone = spacy.load(tmp_path)
    for y, other in zip(vectors(alone), expected, strict=True):
        np.testing.assert_allclose(y, other, atol=1e-5)
    assert len(packings) == 2
    vectors(alone)
    assert len(packings) == 2


def test_turned_off_a_pipeline_predicts_as_thinc_to_the_bit(char_model, tmp_path, packings):
    nlp = at_both_ends(char_model, accelerate_listeners=False)
    nlp.to_disk(tmp_path)
    tagger = nlp.get_pipe("tagger").model
    docs = list(nlp.get_pipe("elmo").pipe(map(nlp.make_doc, TEXTS)))
    set_dropout_rate(tagger, 0.0)
    expected = tagger.layers[0](docs, is_train=True)[0]  # thinc's layers compute it
    nlp.replace_listeners("elmo", "tagger", PATHS)
    for each in (spacy.load(tmp_path), nlp):
        assert {type(node.ops) for node in each.get_pipe("tagger").model.walk()} == {NumpyOps}
        for y, other in zip(vectors(each), expected, strict=True):
            np.testing.assert_array_equal(y, other)
    assert not packings


def test_a_pipeline_can_be_loaded_with_the_other_setting(char_model, tmp_path, packings):
    nlp = at_both_ends(char_model)
    nlp.to_disk(tmp_path)
    packings.clear()
    off = spacy.load(tmp_path, config={"components": {"elmo": {"accelerate_listeners": False}}})
    vectors(off)
    assert not packings
    off.to_disk(tmp_path / "off")
    on = spacy.load(tmp_path / "off", config={"components": {"elmo": {"accelerate_listeners": True}}})
    vectors(on)
    assert len(packings) == 2 * available()


@pytest.mark.filterwarnings("ignore:No component after")
def test_other_components_are_left_alone(char_model):
    alone = spacy.blank("zh")
    nlp = blank(char_model)
    for each in (alone, nlp):
        each.add_pipe("morphologizer")
        spacy.util.fix_random_seed(0)
        train(each, steps=2)
    docs = [[each.make_doc(text) for text in TEXTS if text] for each in (alone, nlp)]
    predicted = [
        each.get_pipe("morphologizer").model.predict(own)
        for each, own in zip((alone, nlp), docs, strict=True)
    ]
    for y, other in zip(*predicted, strict=True):
        np.testing.assert_array_equal(y, other)

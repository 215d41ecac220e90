"""spacy-elmo.MaxoutWindowEncoder.v1: spaCy's encoder, in prediction by the native kernel."""

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.ml.models.tok2vec import MaxoutWindowEncoder as SpacysEncoder
from thinc.api import SGD

from spacy_elmo.errors import ElmoError
from spacy_elmo.kernels.token_ops import available
from spacy_elmo.pipeline.architectures import build_maxout_window_encoder_v1
from spacy_elmo.pipeline.layers import packed_maxout
from spacy_elmo.pipeline.layers.packed_maxout import set_fused

from .helpers import blank, tagger_config, tok2vec, train

WIDTH = 12


def make_pair(window_size=1, pieces=3, depth=2, precision="f32"):
    """spaCy's encoder, and ours with its weights."""
    own = SpacysEncoder(WIDTH, window_size, pieces, depth)
    own.initialize(X=texts([3]))
    for node in own.walk():
        for name in node.param_names:
            node.set_param(name, node.get_param(name) + np.float32(0.1))
    model = build_maxout_window_encoder_v1(WIDTH, window_size, pieces, depth, precision)
    return own, model.from_bytes(own.to_bytes())


def texts(lengths):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, WIDTH)).astype("f") for n in lengths]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(1, 3), st.sampled_from([2, 3]))
@settings(max_examples=40, deadline=None)
def test_predicts_what_spacy_predicts(lengths, window_size, pieces):
    own, model = make_pair(window_size, pieces)
    X = texts(lengths)
    for y, expected in zip(model.predict(X), own.predict(X), strict=True):
        np.testing.assert_allclose(y, expected, atol=2e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("int16", 0.01)])
def test_precisions_are_near(precision, tolerance):
    own, model = make_pair(precision=precision)
    X = texts([7, 30])
    for y, expected in zip(model.predict(X), own.predict(X), strict=True):
        np.testing.assert_allclose(y, expected, atol=tolerance)
    with pytest.raises(ElmoError, match="f16"):
        build_maxout_window_encoder_v1(WIDTH, 1, 3, 1, "f16")


def test_turned_off_it_is_spacys_to_the_bit():
    own, model = make_pair()
    set_fused(model, False)
    X = texts([7, 0, 30])
    for y, expected in zip(model.predict(X), own.predict(X), strict=True):
        np.testing.assert_array_equal(y, expected)


def test_training_is_spacys_to_the_bit():
    pair, X = make_pair(), texts([7, 0, 30])
    for _ in range(3):
        for each in pair:
            each.predict(X)
            Y, backprop = each(X, is_train=True)
            backprop([np.ones_like(y) for y in Y])
            each.finish_update(SGD(0.01))
    for node, other in zip(*(each.walk() for each in pair), strict=True):
        for name in node.param_names:
            np.testing.assert_array_equal(other.get_param(name), node.get_param(name))
    own, model = pair
    for y, expected in zip(model.predict(X), own.predict(X), strict=True):
        np.testing.assert_allclose(y, expected, atol=2e-5)


def test_a_trained_pipeline_can_take_it_over(char_model, tmp_path, monkeypatch):
    encode = {**tok2vec()["encode"], "maxout_pieces": 3}
    tagger = tagger_config()["model"]
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config={"model": {**tagger, "tok2vec": {**tok2vec(), "encode": encode}}})
    train(nlp, steps=3)
    nlp.to_disk(tmp_path)
    path = "components.tagger.model.tok2vec.encode.@architectures"
    again = spacy.load(tmp_path, config={path: "spacy-elmo.MaxoutWindowEncoder.v1"})
    packed = []
    pack = packed_maxout.PackedMaxout
    monkeypatch.setattr(packed_maxout, "PackedMaxout", lambda *a, **kw: packed.append(a) or pack(*a, **kw))
    docs = [list(each.pipe(["我去银行取钱。", "他打球。"])) for each in (nlp, again)]
    assert len(packed) == 3 * available()  # of both ConcatEmbeds, and of the encoder
    scores = [
        each.get_pipe("tagger").model.predict(own) for each, own in zip((nlp, again), docs, strict=True)
    ]
    for y, expected in zip(*scores, strict=True):
        np.testing.assert_allclose(y, expected, atol=0.02)

"""A biLM that is not frozen: its gradient is right, its weights are trained, averaged and saved."""

import numpy as np
import pytest
import spacy
import torch
from thinc.api import Adam, Model

from spacy_elmo.pipeline.layers.bilm import BiLMShim, get_bilm_shim

from .helpers import examples, make_bilm

TEXTS = ["他打球。", "他 打ＡＢ字！我去。", "", " "]


def config(path, **settings):
    bilm = {"@architectures": "spacy-elmo.BiLM.v1", "path": str(path), "precision": "f32", **settings}
    mix = {"mix_dropout": 0.0, "layer_norm": True}
    tok2vec = {"@architectures": "spacy-elmo.ElmoTok2Vec.v1", "bilm": bilm, **mix}
    return {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}}


def make_pipeline(path, **settings):
    nlp = spacy.blank("zh")
    nlp.add_pipe("tagger", config=config(path, **settings))
    nlp.initialize(lambda: examples(nlp))
    return nlp


def bilm_shim(nlp) -> BiLMShim:
    (layer,) = [node for node in nlp.get_pipe("tagger").model.walk() if node.name == "elmo-bilm"]
    return get_bilm_shim(layer)


def weights_of(nlp) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy().copy() for name, p in bilm_shim(nlp).bilm.named_parameters()}


def tok2vec_of(nlp) -> Model:
    return nlp.get_pipe("tagger").model.get_ref("tok2vec")


@pytest.fixture
def path(tmp_path):
    make_bilm().save(tmp_path / "model")
    return tmp_path / "model"


def test_training_reads_the_same_vectors(path):
    nlp = make_pipeline(path, frozen=False)
    docs = [nlp.make_doc(text) for text in TEXTS]
    trained, _ = tok2vec_of(nlp).begin_update(docs)
    for one, other in zip(trained, tok2vec_of(nlp).predict(docs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_gradient_is_that_of_differences(path, layer_norm):
    nlp = make_pipeline(path, frozen=False)
    model = tok2vec_of(nlp)
    (mix,) = [node for node in model.walk() if node.name == "elmo-scalar-mix"]
    mix.attrs["layer_norm"] = layer_norm
    docs = [nlp.make_doc(text) for text in TEXTS]
    rng = np.random.default_rng(0)
    Y, backprop = model.begin_update(docs)
    dY = [rng.normal(size=y.shape).astype("f") for y in Y]
    backprop(dY)
    named = dict(bilm_shim(nlp).bilm.named_parameters())

    def loss() -> float:
        return sum(float((y * d).sum()) for y, d in zip(model.predict(docs), dY, strict=True))

    def move(weights, direction, step) -> None:
        with torch.no_grad():
            weights.add_(direction, alpha=step)

    for name in (
        "token_encoder.embedding.weight",
        "forward_lm.layers.0.weight_ih_l0",
        "backward_lm.layers.1.weight_hr_l0",
    ):
        weights = named[name]
        direction = torch.sign(weights.grad)
        step = 1e-3
        move(weights, direction, step)
        above = loss()
        move(weights, direction, -2 * step)
        expected = (above - loss()) / (2 * step)
        move(weights, direction, step)
        assert float((weights.grad * direction).sum()) == pytest.approx(expected, rel=0.02, abs=1e-3)


def test_weights_are_trained_and_saved(path, tmp_path):
    nlp = make_pipeline(path, frozen=False)
    before = weights_of(nlp)
    optimizer = Adam(0.01)
    losses = [nlp.update(examples(nlp), sgd=optimizer)["tagger"] for _ in range(15)]
    after = weights_of(nlp)
    assert losses[-1] < 0.8 * losses[0]
    assert any(not np.array_equal(before[name], after[name]) for name in before if "lm" in name)
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    for name, value in weights_of(again).items():
        np.testing.assert_array_equal(value, after[name])
    for text in TEXTS:
        assert [t.tag_ for t in again(text)] == [t.tag_ for t in nlp(text)]


def test_averages_are_used_where_they_are_asked_for(path):
    nlp = make_pipeline(path, frozen=False)
    optimizer = Adam(0.01, use_averages=True)
    for _ in range(5):
        nlp.update(examples(nlp), sgd=optimizer)
    trained = weights_of(nlp)
    with nlp.use_params(optimizer.averages):
        averaged = weights_of(nlp)
    assert any(not np.array_equal(averaged[name], trained[name]) for name in trained)
    for name, value in weights_of(nlp).items():
        np.testing.assert_array_equal(value, trained[name])


def test_frozen_by_default(path):
    nlp = make_pipeline(path)
    before = weights_of(nlp)
    for _ in range(3):
        nlp.update(examples(nlp), sgd=Adam(0.01))
    for name, value in weights_of(nlp).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_copy_is_trained_by_itself(path):
    nlp = make_pipeline(path, frozen=False)
    copied = bilm_shim(nlp).copy()
    assert not copied.frozen
    for _ in range(2):
        nlp.update(examples(nlp), sgd=Adam(0.01))
    untouched = make_bilm()
    for name, weights in copied.bilm.named_parameters():
        np.testing.assert_array_equal(
            weights.detach().numpy(), dict(untouched.named_parameters())[name].detach()
        )


def test_what_is_refused(path):
    nlp = spacy.blank("zh")
    model = {"@architectures": "spacy-elmo.BiLM.v1", "path": str(path), "frozen": False}
    with pytest.raises(ValueError, match="so it stays frozen"):
        nlp.add_pipe("elmo", config={"model": model})
    with pytest.raises(ValueError, match="trains nothing"):
        nlp.add_pipe("tagger", config=config(path, frozen=False, learn_rate_factor=0.0))

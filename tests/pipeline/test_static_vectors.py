"""Static vectors in a pipeline: next to a listener's mix, on the Doc, without a component."""

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.static_vectors import normalize_rms
from spacy_elmo.modeling.vocab import Vocab

from .helpers import CHARS, TEXTS, blank, examples, parser_config, tagger_config, tok2vec, train

WORDS = [*CHARS, "银行", "自行车", "北京"]
TEXT = "我去银行取钱。"
PATHS = ["model.tok2vec.tok2vec.embed.elmo", "model.tok2vec.elmo"]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Folder of a biLM with D = 16 and static vectors of width 6."""
    torch.manual_seed(0)
    config = BiLMConfig(projection_dim=8, hidden_size=12, n_static_vectors=len(WORDS), static_dim=6)
    bilm = BiLM(config, Vocab(CHARS, static=WORDS)).eval()
    bilm.static_vectors = torch.from_numpy(
        normalize_rms(np.random.default_rng(0).normal(size=(len(WORDS), 6)))
    )
    path = tmp_path_factory.mktemp("models") / "static"
    bilm.save(path)
    return path


def config(task: dict, **listener) -> dict:
    """Static vectors at the output of a task."""
    elmo = {
        "@architectures": "spacy-elmo.ElmoListener.v1",
        "mix_dropout": 0.0,
        "use_static_vectors": True,
        **listener,
    }
    output = {"@architectures": "spacy-elmo.ConcatOutput.v1", "width": 24, "elmo": elmo}
    return {**task, "model": {**task["model"], "tok2vec": {**output, "tok2vec": tok2vec()}}}


@pytest.fixture
def nlp(model) -> Language:
    nlp = blank(model)
    nlp.add_pipe("tagger", config=config(tagger_config()))
    nlp.add_pipe("ner", config=config(parser_config("ner")))
    return nlp


def listeners(nlp, name="tagger"):
    return [node for node in nlp.get_pipe(name).model.walk() if node.name == "elmo-listener"]


def scores(nlp, texts=TEXTS):
    return [nlp.get_pipe("tagger").model.predict([nlp(text)])[0] for text in texts]


def test_a_doc_carries_those_of_its_own_tokens(model):
    nlp = blank(model)
    doc = nlp.get_pipe("elmo")(Doc(nlp.vocab, words=["我", "去", "银行", "　", "北京"], spaces=[False] * 5))
    bilm = nlp.get_pipe("elmo").model.shims[0].bilm
    np.testing.assert_array_equal(
        doc._.elmo.static_vectors, bilm.static_vectors_of([token.text for token in doc])
    )
    assert doc._.elmo.static_vectors[[0, 1, 2, 4]].any(axis=1).all()
    assert not doc._.elmo.static_vectors[3].any()
    assert doc._.elmo.layers.shape == (3, 5, 16)
    back = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    np.testing.assert_array_equal(back._.elmo.static_vectors, doc._.elmo.static_vectors)
    doc._.elmo = None
    assert not doc.user_data


def test_processes_give_the_same(model):
    nlp = blank(model)
    alone = [doc._.elmo.static_vectors for doc in nlp.pipe(TEXTS)]
    for doc, wanted in zip(nlp.pipe(TEXTS, n_process=2, batch_size=2), alone, strict=True):
        np.testing.assert_array_equal(doc._.elmo.static_vectors, wanted)


def test_a_model_without_them_gives_none(elmo_nlp):
    assert elmo_nlp(TEXT)._.elmo.static_vectors.shape == (len(elmo_nlp.make_doc(TEXT)), 0)


def test_only_who_wants_them_gets_them(nlp):
    train(nlp, steps=0)
    widths = {node.attrs["use_static_vectors"]: node.get_dim("nO") for node in listeners(nlp)}
    assert widths == {True: 16 + 6, False: 16}
    doc = nlp(TEXT)
    for node in listeners(nlp):
        (out,) = node.predict([doc])
        assert out.shape[1] == node.get_dim("nO")
        np.testing.assert_array_equal(out[:, 16:], doc._.elmo.static_vectors[:, : out.shape[1] - 16])


def test_the_mix_gets_its_gradient_and_they_none(nlp):
    train(nlp, steps=0)
    (node,) = (node for node in listeners(nlp) if node.attrs["use_static_vectors"])
    doc = nlp(TEXT)
    Y, backprop = node([doc], is_train=True)
    rng = np.random.default_rng(0)
    dY = rng.normal(size=Y[0].shape).astype("f")
    assert backprop([dY]) == []
    mix = node.layers[0]
    gradients = {name: mix.get_grad(name).copy() for name in ("w", "gamma")}
    for name in gradients:
        mix.set_grad(name, np.zeros_like(gradients[name]))
    mix([doc._.elmo.layers], is_train=True)[1]([dY[:, :16]])
    for name, gradient in gradients.items():
        np.testing.assert_allclose(mix.get_grad(name), gradient, rtol=1e-5)


def test_without_any_the_setting_changes_nothing(char_model):
    found = []
    for wanted in (False, True):
        spacy.util.fix_random_seed(0)
        nlp = blank(char_model)
        nlp.add_pipe("tagger", config=config(tagger_config(), use_static_vectors=wanted))
        train(nlp, steps=3)
        found.append(scores(nlp))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_saved_and_replaced_it_is_the_same(nlp, tmp_path):
    train(nlp, steps=3)
    expected = scores(nlp)
    nlp.to_disk(tmp_path / "whole")
    for a, b in zip(scores(spacy.load(tmp_path / "whole")), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for name in ("tagger", "ner"):
        nlp.replace_listeners("elmo", name, PATHS)
    nlp.remove_pipe("elmo")
    assert nlp.config["components"]["tagger"]["model"]["tok2vec"]["elmo"]["use_static_vectors"] is True
    nlp.to_disk(tmp_path / "alone")
    for one in (nlp, spacy.load(tmp_path / "alone")):
        for a, b in zip(scores(one), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_trained_again_after_replacing(nlp):
    train(nlp, steps=1)
    nlp.replace_listeners("elmo", "tagger", PATHS)
    before = scores(nlp)[0].copy()
    nlp.update(examples(nlp), sgd=nlp.resume_training())
    assert (scores(nlp)[0] != before).any()


def test_a_model_of_other_static_vectors_is_refused(nlp, char_model):
    train(nlp, steps=0)
    other = blank(char_model)
    other.add_pipe("tagger", source=nlp)
    with pytest.raises(ValueError, match="made for vectors of width 22"):
        other(TEXT)

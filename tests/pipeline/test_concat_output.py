"""ELMo at the output of a task, beside its tok2vec: two listeners, two mixes, both learnt and saved."""

import numpy as np
import pytest
import spacy

from .helpers import TOK2VEC, assert_same, blank, parser_config, tagger_config, tok2vec, train

TEXT = "我去银行取钱。"
LISTENER = {"@architectures": "spacy-elmo.ElmoListener.v1", "mix_dropout": 0.0}
PATHS = ["model.tok2vec.tok2vec.embed.elmo", "model.tok2vec.elmo"]


def at_output(config: dict) -> dict:
    output = {"@architectures": "spacy-elmo.ConcatOutput.v1", "width": 24, "elmo": LISTENER}
    return {**config, "model": {**config["model"], "tok2vec": {**output, "tok2vec": tok2vec()}}}


@pytest.fixture
def nlp(char_model):
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config=at_output(tagger_config()))
    nlp.add_pipe("ner", config=at_output(parser_config("ner")))
    return nlp


def mixes(nlp, name):
    return [node for node in nlp.get_pipe(name).model.walk() if node.name == "elmo-scalar-mix"]


def test_both_mixes_learn(nlp):
    train(nlp, steps=1)
    before = {name: [mix.get_param("w").copy() for mix in mixes(nlp, name)] for name in ("tagger", "ner")}
    train(nlp, steps=20)
    for name, weights in before.items():
        assert len(weights) == 2
        for mix, w in zip(mixes(nlp, name), weights, strict=True):
            assert (mix.get_param("w") != w).any()
    assert [token.tag_ for token in nlp(TEXT)][:2] == ["PN", "VV"]


def test_width_is_that_of_both(nlp):
    train(nlp, steps=0)
    layer = nlp.get_pipe("tagger").model.layers[0]
    assert layer.get_dim("nO") == TOK2VEC["encode"]["width"] + 24
    assert layer.predict([nlp(TEXT)])[0].shape == (len(nlp.make_doc(TEXT)), 40)


def test_saved_and_loaded_it_is_the_same(nlp, tmp_path):
    train(nlp, steps=3)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert_same(*([n.get_pipe("tagger").model.predict([n(TEXT)])[0]] for n in (nlp, loaded)))


def test_both_listeners_are_replaced(nlp):
    train(nlp, steps=3)
    expected = nlp.get_pipe("tagger").model.predict([nlp(TEXT)])[0]
    nlp.replace_listeners("elmo", "tagger", PATHS)
    assert nlp.get_pipe("elmo").listening_components == ["ner"]
    found = nlp.get_pipe("tagger").model.predict([nlp.make_doc(TEXT)])[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)

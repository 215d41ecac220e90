"""ELMo at the output of a task, in addition to its tok2vec: two listeners and mixes, learned and saved."""

import pickle

import numpy as np
import pytest
import spacy
from spacy.util import load_model_from_config

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.pipeline.layers.bilm import BiLMShim

from .helpers import (
    TOK2VEC,
    assert_same,
    blank,
    examples,
    make_bilm,
    parser_config,
    tagger_config,
    tok2vec,
    train,
)

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


def bilm_of(nlp, name):
    (shim,) = (
        shim for node in nlp.get_pipe(name).model.walk() for shim in node.shims if isinstance(shim, BiLMShim)
    )
    return shim


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


# --- After nlp.replace_listeners, one private biLM serves both mixes ---

TEXTS = [TEXT, "", " ", "张三爱北京。" * 200, "他打球，我打字。", TEXT]


def alone(nlp, paths=PATHS):
    """The pipeline without elmo."""
    for name in ("tagger", "ner"):
        nlp.replace_listeners("elmo", name, paths)
    nlp.remove_pipe("elmo")
    return nlp


def predictions(nlp):
    return [[(t.tag_, t.ent_type_) for t in doc] for doc in nlp.pipe(TEXTS, batch_size=2)]


def scores(nlp):
    """Return the tagger's scores for all texts at once."""
    docs = [nlp.make_doc(text) for text in TEXTS]
    if "elmo" in nlp.pipe_names:
        docs = list(nlp.get_pipe("elmo").pipe(docs))
    return nlp.get_pipe("tagger").model.predict(docs)


@pytest.fixture
def runs(monkeypatch):
    """Units that every call of BiLM.encode has read, one after another."""
    found = []
    encode = BiLM.encode

    def counted(self, sentences, **settings):
        found.append(sum(map(len, sentences)))
        return encode(self, sentences, **settings)

    monkeypatch.setattr(BiLM, "encode", counted)
    return found


@pytest.mark.parametrize("paths", [PATHS, PATHS[::-1]])
def test_alone_it_is_the_same_and_after_reloading(nlp, tmp_path, paths):
    train(nlp, steps=5)
    expected, vectors = predictions(nlp), scores(nlp)
    alone(nlp, paths)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    from_bytes = load_model_from_config(loaded.config).from_bytes(loaded.to_bytes())
    for each in (nlp, loaded, from_bytes):
        assert predictions(each) == expected
        assert_same(scores(each), vectors)


def test_alone_each_text_is_read_once(nlp, tmp_path, runs):
    train(nlp, steps=1)
    alone(nlp).to_disk(tmp_path)
    for each in (nlp, spacy.load(tmp_path)):
        tagger = each.get_pipe("tagger").model
        for model in (tagger, tagger.copy(), pickle.loads(pickle.dumps(tagger))):
            runs.clear()
            doc = each.make_doc(TEXT)
            first = model.predict([doc])[0]
            assert runs == [len(TEXT)]
            np.testing.assert_array_equal(model.predict([doc])[0], first)
            assert runs == [len(TEXT)] * 2  # nothing of the batch before is left
            model.begin_update([doc])
            assert runs == [len(TEXT)] * 3


def test_alone_words_that_are_merged_are_read_again(nlp):
    train(nlp, steps=1)
    tagger = alone(nlp).get_pipe("tagger").model
    one, other = (node for node in tagger.walk() if node.name == "elmo-tok2vec")
    doc, merged = nlp.make_doc(TEXT), nlp.make_doc(TEXT)
    one.predict([doc])  # half of a batch, as before an error
    for each in (doc, merged):
        with each.retokenize() as retokenizer:
            retokenizer.merge(each[2:4])
    assert_same(other.predict([doc]), other.predict([merged]))


def test_alone_it_is_saved_with_one_bilm(tmp_path):
    bilm = make_bilm(projection_dim=32, hidden_size=200)
    bilm.save(tmp_path / "bilm")
    one = (tmp_path / "bilm" / "weights.safetensors").stat().st_size
    nlp = blank(tmp_path / "bilm")
    nlp.add_pipe("tagger", config=at_output(tagger_config()))
    train(nlp, steps=1)
    nlp.replace_listeners("elmo", "tagger", PATHS)
    nlp.remove_pipe("elmo")
    nlp.to_disk(tmp_path / "nlp")
    assert one < (tmp_path / "nlp" / "tagger" / "model").stat().st_size < 1.5 * one


def test_alone_both_mixes_learn_and_the_bilm_does_not(nlp, tmp_path):
    train(nlp, steps=1)
    alone(nlp).to_disk(tmp_path)
    for each in (nlp, spacy.load(tmp_path)):
        shim = bilm_of(each, "ner")
        weights = {name: weight.clone() for name, weight in shim.bilm.state_dict().items()}
        before = [mix.get_param("w").copy() for mix in mixes(each, "ner")]
        each.update(examples(each), sgd=each.resume_training())
        assert all((mix.get_param("w") != w).any() for mix, w in zip(mixes(each, "ner"), before, strict=True))
        assert all((weight == weights[name]).all() for name, weight in shim.bilm.state_dict().items())


def test_alone_it_can_be_initialized_from_its_config(nlp):
    train(nlp, steps=1)
    again = load_model_from_config(alone(nlp).config)
    train(again, steps=20)
    assert [token.tag_ for token in again(TEXT)][:2] == ["PN", "VV"]


def test_alone_the_config_tells_which_one_has_the_bilm(nlp):
    train(nlp, steps=1)
    tok2vec = alone(nlp).config["components"]["tagger"]["model"]["tok2vec"]
    inner = tok2vec["tok2vec"]["embed"]["elmo"]
    assert inner["bilm"]["@architectures"] == "spacy-elmo.BiLM.v1"
    assert tok2vec["elmo"]["bilm"] is None
    assert (inner["mix_dropout"], tok2vec["elmo"]["mix_dropout"]) == (0.5, 0.0)  # each has its own still


@pytest.mark.parametrize("wrong", ["model.tok2vec.tok2vec.embed", "model.tok2vec.tok2vec", "model.tok2vec"])
def test_a_wrong_path_beside_a_right_one_changes_nothing(nlp, wrong):
    train(nlp, steps=1)
    before, vectors = nlp.config.to_str(), scores(nlp)
    with pytest.raises(ValueError, match="This is not the path of a listener"):
        nlp.replace_listeners("elmo", "tagger", [PATHS[1], wrong])
    assert nlp.config.to_str() == before
    assert_same(scores(alone(nlp)), vectors)


def test_sourced_it_stands_alone_at_once(nlp, tmp_path):
    train(nlp, steps=5)
    nlp.to_disk(tmp_path / "source")
    expected = scores(nlp)
    config = spacy.blank("zh").config.copy()
    config["nlp"]["pipeline"] = ["tagger"]
    config["components"] = {"tagger": {"source": str(tmp_path / "source"), "replace_listeners": PATHS}}
    sourced = load_model_from_config(config, auto_fill=True)
    sourced.to_disk(tmp_path / "sourced")
    for each in (sourced, spacy.load(tmp_path / "sourced")):
        assert_same(scores(each), expected)


def test_without_a_bilm_anywhere(char_model):
    private = {"@architectures": "spacy-elmo.ElmoTok2Vec.v1", "bilm": None}
    config = at_output(tagger_config())
    config["model"]["tok2vec"]["elmo"] = private
    with pytest.raises(ValueError, match=r"uses the biLM of the tok2vec next to it, which has none"):
        blank(char_model).add_pipe("tagger", config=config)
    config = {"model": {**tagger_config()["model"], "tok2vec": private}}
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config=config)
    with pytest.raises(ValueError, match=r"has no biLM: give one in \[bilm\]"):
        train(nlp)

"""A consumer that stands alone: nlp.replace_listeners, the architecture that it uses, sourced components."""

import numpy as np
import pytest
import spacy
from spacy.language import Language

from .helpers import LISTENER_PATH, blank, examples, parser_config, tagger_config, tok2vec, train

TEXTS = ["我去银行取钱。", "", " ", "张三爱北京。"]


def predictions(nlp: Language, texts=TEXTS):
    return [[(t.tag_, t.ent_type_) for t in doc] for doc in nlp.pipe(texts)]


def replaced(path) -> Language:
    nlp = spacy.load(path)
    nlp.replace_listeners("elmo", "tagger", [LISTENER_PATH])
    nlp.replace_listeners("elmo", "ner", [LISTENER_PATH])
    return nlp


def test_same_predictions_alone_and_after_reloading(trained, tmp_path):
    expected = predictions(spacy.load(trained))
    nlp = replaced(trained)
    assert nlp.get_pipe("elmo").listening_components == []
    assert predictions(nlp) == expected
    nlp.remove_pipe("elmo")
    assert predictions(nlp) == expected
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert predictions(again) == expected
    data = again.to_bytes()
    assert predictions(spacy.util.load_model_from_config(again.config).from_bytes(data)) == expected
    doc, other = (n.get_pipe("tagger").model.predict([n.make_doc(TEXTS[0])])[0] for n in (nlp, again))
    np.testing.assert_allclose(doc, other, atol=1e-5)  # its encoder has thinc's operations again


def test_config_says_what_the_model_is(trained):
    nlp = spacy.load(trained)
    nlp.replace_listeners("elmo", "tagger", [LISTENER_PATH])
    section = nlp.config["components"]["tagger"]["model"]["tok2vec"]["embed"]["elmo"]
    assert section["@architectures"] == "spacy-elmo.ElmoTok2Vec.v1"
    assert section["bilm"]["@architectures"] == "spacy-elmo.BiLM.v1"
    assert section["mix_dropout"] == 0.5
    assert "elmo-tok2vec" in {node.name for node in nlp.get_pipe("tagger").model.walk()}


def test_private_mix_learns_and_private_bilm_does_not(trained):
    nlp = replaced(trained)
    nlp.remove_pipe("elmo")
    (private,) = (n for n in nlp.get_pipe("tagger").model.walk() if n.name == "elmo-tok2vec")
    shim, mix = private.layers[0].shims[0], private.layers[1]
    before = {k: v.clone() for k, v in shim.bilm.state_dict().items()}
    w = mix.get_param("w").copy()
    optimizer = nlp.resume_training()
    nlp.update(examples(nlp), sgd=optimizer)
    assert (mix.get_param("w") != w).any()
    assert all((v == before[k]).all() for k, v in shim.bilm.state_dict().items())


@pytest.mark.parametrize("path", ["model.tok2vec", "model.tok2vec.embed", "model.tok2vec.encode"])
def test_wrong_path(trained, path):
    nlp = spacy.load(trained)
    before = nlp.config.to_str()
    with pytest.raises(ValueError, match=r'use "model\.tok2vec\.embed\.elmo"'):
        nlp.replace_listeners("elmo", "tagger", [path])
    assert nlp.config.to_str() == before
    nlp.replace_listeners("elmo", "tagger", [LISTENER_PATH])
    assert predictions(nlp) == predictions(spacy.load(trained))


def test_listener_to_another_elmo(char_model):
    nlp = blank(char_model)
    nlp.add_pipe("elmo", name="elmo_law", config={"model": {"path": str(char_model)}})
    nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=1)
    with pytest.raises(ValueError, match='listens to "elmo_law", not to "elmo"'):
        nlp.replace_listeners("elmo", "tagger", [LISTENER_PATH])


def test_listener_as_the_whole_tok2vec(char_model):
    nlp = blank(char_model)
    config = {
        "@architectures": "spacy.Tagger.v2",
        "tok2vec": {"@architectures": "spacy-elmo.ElmoListener.v1"},
    }
    nlp.add_pipe("tagger", config={"model": config})
    train(nlp, steps=3)
    expected = predictions(nlp)
    nlp.replace_listeners("elmo", "tagger", ["model.tok2vec"])
    nlp.remove_pipe("elmo")
    assert predictions(nlp) == expected


def test_before_initialization(char_model):
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config=tagger_config())
    nlp.replace_listeners("elmo", "tagger", [LISTENER_PATH])
    nlp.remove_pipe("elmo")
    train(nlp, steps=2)
    assert nlp(TEXTS[0])[0].tag_


def test_private_bilm_from_a_config(char_model, tmp_path):
    private = {
        "@architectures": "spacy-elmo.ElmoTok2Vec.v1",
        "bilm": {"@architectures": "spacy-elmo.BiLM.v1", "path": str(char_model)},
    }
    nlp = spacy.blank("zh")
    section = tok2vec()
    section = {**section, "embed": {**section["embed"], "elmo": private}}
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": section}})
    train(nlp, steps=5)
    expected = predictions(nlp)
    nlp.to_disk(tmp_path)
    assert predictions(spacy.load(tmp_path)) == expected


def test_each_copy_shares_the_frozen_weights(trained):
    nlp = replaced(trained)
    bilms = {
        id(node.shims[0].bilm)
        for name in nlp.pipe_names
        for node in nlp.get_pipe(name).model.walk()
        if node.name == "elmo-bilm"
    }
    assert len(bilms) == 1


# --- source = ... ---


def test_sourced_elmo_and_consumer(trained):
    nlp = spacy.blank("zh")
    source = spacy.load(trained)
    nlp.add_pipe("elmo", source=source)
    nlp.add_pipe("tagger", source=source)
    assert [t for doc in predictions(nlp) for t, _ in doc] == [
        t for doc in predictions(spacy.load(trained)) for t, _ in doc
    ]


def test_sourced_elmo_keeps_its_weights_under_a_new_consumer(trained):
    nlp = spacy.blank("zh")
    source = spacy.load(trained)
    nlp.add_pipe("elmo", source=source)
    nlp.add_pipe("ner", config=parser_config("ner"))
    train(nlp, steps=2)
    np.testing.assert_array_equal(nlp("我去")._.elmo.layers, spacy.load(trained)("我去")._.elmo.layers)


def test_sourced_from_a_config_with_listeners_replaced(trained, tmp_path):
    config = spacy.blank("zh").config.copy()
    config["nlp"]["pipeline"] = ["tagger"]
    config["components"] = {"tagger": {"source": str(trained), "replace_listeners": [LISTENER_PATH]}}
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    expected = [[t for t, _ in doc] for doc in predictions(spacy.load(trained))]
    assert [[t for t, _ in doc] for doc in predictions(nlp)] == expected
    nlp.to_disk(tmp_path)
    assert [[t for t, _ in doc] for doc in predictions(spacy.load(tmp_path))] == expected

"""Accelerated listeners in a pipeline: precision, replaced listeners, the setting, other components."""

import pickle

import numpy as np
import pytest
import spacy
from thinc.api import NumpyOps, set_dropout_rate

from spacy_elmo.kernels.token_ops import available
from spacy_elmo.pipeline.layers import packed_maxout

from .fused_maxout_helpers import native
from .helpers import blank, tagger_config, tok2vec, train

TEXTS = ["我去银行取钱。", "", " ", "他打球，我打字。" * 20]
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

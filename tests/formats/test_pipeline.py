"""Models of words and bytes in pipelines of other languages, by spaCy's tokenizers."""

import warnings

import numpy as np
import pytest
import spacy
from pipeline.helpers import tagger_config
from spacy.tokens import Doc
from spacy.training import Example

from spacy_elmo.formats import load_bilm_tf, load_elmoformanylangs

from .helpers import (
    ARCHITECTURE,
    OPTIONS,
    bilm_tf_layers,
    bilm_tf_tensors,
    many_langs_layers,
    write_bilm_tf,
    write_many_langs,
)

pytest.importorskip("h5py", reason="reads and writes HDF5")

TEXTS = {
    "en": "The cat didn't sit on Peter's mat - it slept. Nobody cared.",
    "ru": "Кошка не сидела на ковре, она спала. Никому не было дела.",
    "de": "Die Katze schläft z.B. auf dem Sofa.",
}


def pipeline(lang, model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the segmenter is that of the model
        nlp = spacy.blank(lang)
        nlp.add_pipe("elmo", config={"model": {"path": str(model), "precision": "f32"}})
        nlp("ok")
    return nlp


@pytest.mark.parametrize("lang", TEXTS)
def test_bytes(lang, tmp_path):
    tensors = bilm_tf_tensors(OPTIONS)
    load_bilm_tf(*write_bilm_tf(tmp_path, OPTIONS, tensors), lang=lang).save(tmp_path / "model")
    doc = pipeline(lang, tmp_path / "model")(TEXTS[lang])
    words = [token.text for token in doc]
    assert len(words) >= 8
    np.testing.assert_allclose(doc._.elmo.layers, bilm_tf_layers(OPTIONS, tensors, words), atol=1e-5)
    np.testing.assert_allclose(doc[1].vector, doc._.elmo.mean[1], atol=1e-6)


def test_a_saved_pipeline_brings_the_weights_along(tmp_path):
    tensors = bilm_tf_tensors(OPTIONS)
    load_bilm_tf(*write_bilm_tf(tmp_path, OPTIONS, tensors)).save(tmp_path / "model")
    nlp = pipeline("en", tmp_path / "model")
    wanted = nlp(TEXTS["en"])._.elmo.layers
    nlp.to_disk(tmp_path / "pipeline")
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    back = spacy.load(tmp_path / "pipeline")
    np.testing.assert_array_equal(back(TEXTS["en"])._.elmo.layers, wanted)


@pytest.mark.parametrize("encoder", ["elmo", "lstm"])
def test_words_of_many_langs(encoder, tmp_path):
    described = {**ARCHITECTURE, "encoder": {**ARCHITECTURE["encoder"], "name": encoder}}
    parts = write_many_langs(tmp_path / "theirs", described)
    load_elmoformanylangs(tmp_path / "theirs").save(tmp_path / "model")
    nlp = pipeline("en", tmp_path / "model")
    doc = nlp("the cat sat .")
    if encoder == "elmo":
        wanted = many_langs_layers(described, *parts, ["the", "cat", "sat", "."])
        np.testing.assert_allclose(doc._.elmo.layers, wanted, atol=1e-5)
    else:
        assert doc._.elmo.layers.shape == (2, 4, 12)
    nlp.add_pipe("tagger", config=tagger_config())
    gold = Example.from_dict(nlp.make_doc("the cat"), {"tags": ["A", "B"]})
    nlp.update([gold], sgd=nlp.initialize(lambda: [gold]))
    assert all(token.tag_ in ("A", "B") for token in nlp("the cat sat"))


def test_chinese_words_of_another_segmenter_are_warned_of(tmp_path):
    write_many_langs(tmp_path / "theirs", ARCHITECTURE)
    load_elmoformanylangs(tmp_path / "theirs", lang="zh", segmenter="jieba").save(tmp_path / "model")
    nlp = spacy.blank("zh")  # single characters
    nlp.add_pipe("elmo", config={"model": {"path": str(tmp_path / "model")}})
    with pytest.warns(UserWarning, match='was trained on words of the segmenter "jieba"'):
        nlp("的的")
    words = Doc(nlp.vocab, words=["的", "二"], spaces=[False, False])
    assert nlp.get_pipe("elmo")(words)._.elmo.layers.shape == (3, 2, 12)

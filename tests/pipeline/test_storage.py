"""The component "elmo" alone: where its weights come from, how they are stored, and what is refused."""

import pickle
import shutil

import numpy as np
import pytest
import spacy
import srsly

from spacy_elmo.inference import loading

from .helpers import assert_same, blank, layers_of, make_bilm

# --- The embedded default and paths ---


@pytest.fixture
def embedded(char_model, monkeypatch):
    """The bundled model is the small one; returns the folders that were loaded."""
    loaded = []
    load = loading.load
    monkeypatch.setattr(loading, "bundled_model_path", lambda: char_model)
    monkeypatch.setattr(loading, "load", lambda path=None: loaded.append(path) or load(path))
    return loaded


def test_default_is_loaded_at_first_need(embedded):
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo")
    assert embedded == []
    assert nlp("我去")._.elmo.layers.shape == (3, 2, 16)
    assert embedded == [None]


def test_a_saved_pipeline_brings_its_own_weights(embedded, tmp_path, wide_model):
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo")
    nlp.get_pipe("elmo").model.shims[0].bilm = loading.load(wide_model)
    nlp.to_disk(tmp_path)
    data = nlp.to_bytes()
    embedded.clear()
    assert spacy.load(tmp_path)("我去")._.elmo.layers.shape == (3, 2, 24)
    assert embedded == [tmp_path / "elmo" / "model"]
    embedded.clear()
    fresh = spacy.blank("zh")
    fresh.add_pipe("elmo")
    assert fresh.from_bytes(data)("我去")._.elmo.layers.shape == (3, 2, 24)
    assert embedded == []


def test_a_saved_pipeline_needs_its_old_path_no_more(tmp_path):
    make_bilm().save(tmp_path / "model")
    nlp = blank(tmp_path / "model")
    expected = layers_of(nlp)
    nlp.to_disk(tmp_path / "pipeline")
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    assert_same(layers_of(spacy.load(tmp_path / "pipeline")), expected)


def test_missing_path_is_told_at_first_use(tmp_path):
    nlp = blank(tmp_path / "nowhere")
    for use in (lambda: nlp("我去"), nlp.initialize, nlp.to_bytes):
        with pytest.raises(loading.ModelFolderError, match="nowhere"):
            use()


@pytest.mark.parametrize("other", ["file", "folder", "transformer", "wide model"])
def test_a_saved_pipeline_does_not_look_at_its_old_path(other, tmp_path, monkeypatch, char_model, wide_model):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(char_model, tmp_path / "model")
    nlp = blank("model")
    expected, data = layers_of(nlp), nlp.to_bytes()
    nlp.to_disk(tmp_path / "pipeline")
    shutil.rmtree(tmp_path / "model")
    if other == "file":
        (tmp_path / "model").write_text("x")
    elif other == "wide model":
        shutil.copytree(wide_model, tmp_path / "model")
    else:
        (tmp_path / "model").mkdir()
    if other == "transformer":
        srsly.write_json(tmp_path / "model" / "config.json", {"model_type": "bert"})
    assert_same(layers_of(spacy.load(tmp_path / "pipeline")), expected)
    assert_same(layers_of(spacy.blank("zh").from_config(nlp.config).from_bytes(data)), expected)


def test_wrong_path_is_told_at_first_use(tmp_path, char_model):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    newer = tmp_path / "newer"
    newer.mkdir()
    stored = srsly.read_json(char_model / "config.json")
    srsly.write_json(newer / "config.json", {**stored, "format_version": 99})
    for name, reason in (("file", "is a file"), ("folder", "not a model folder"), ("newer", "update")):
        nlp = blank(tmp_path / name)
        for use in (lambda nlp=nlp: nlp("我去"), nlp.initialize):
            with pytest.raises(loading.ModelFolderError, match=reason):
                use()


def test_model_of_another_kind(elmo_nlp):
    config = {"model": {"@architectures": "spacy.HashEmbedCNN.v2", "width": 8, "depth": 1, "embed_size": 9}}
    config["model"].update(window_size=1, maxout_pieces=1, subword_features=False, pretrained_vectors=None)
    with pytest.raises(ValueError, match=r"spacy-elmo\.BiLM\.v1"):
        elmo_nlp.add_pipe("elmo", name="other", config=config)


def test_path_in_the_initialize_section(char_model, wide_model):
    nlp = blank(char_model)
    nlp.config["initialize"]["components"]["elmo"] = {"path": str(wide_model)}
    nlp.initialize()
    assert nlp("我去")._.elmo.layers.shape == (3, 2, 24)


# --- Storage ---


def test_disk_bytes_and_pickle(elmo_nlp, tmp_path):
    expected = layers_of(elmo_nlp)
    elmo_nlp.to_disk(tmp_path)
    assert (tmp_path / "elmo" / "model" / "config.json").exists()
    restored = [spacy.load(tmp_path), pickle.loads(pickle.dumps(elmo_nlp))]
    restored.append(spacy.util.load_model_from_config(elmo_nlp.config).from_bytes(elmo_nlp.to_bytes()))
    for nlp in restored:
        for one, other in zip(layers_of(nlp), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_saved_pipeline_is_as_small_as_its_model(tmp_path):
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo")
    nlp.to_disk(tmp_path)
    bundled = loading.bundled_model_path() / "weights.safetensors"
    assert (tmp_path / "elmo" / "model" / "weights.safetensors").read_bytes() == bundled.read_bytes()
    assert len(nlp.to_bytes()) < 1.1 * bundled.stat().st_size


def test_saving_onto_itself(elmo_nlp, tmp_path):
    expected = layers_of(elmo_nlp)
    elmo_nlp.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    nlp.to_disk(tmp_path)
    assert_same(layers_of(spacy.load(tmp_path)), expected)


def test_pickle_before_the_weights_are_loaded(elmo_nlp):
    nlp = pickle.loads(pickle.dumps(elmo_nlp))
    assert not nlp.get_pipe("elmo").model.shims[0].loaded
    assert nlp("我去")._.elmo is not None


def test_truncated_weights(elmo_nlp, tmp_path):
    elmo_nlp.to_disk(tmp_path)
    weights = tmp_path / "elmo" / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(loading.ModelFolderError, match="damaged"):
        spacy.load(tmp_path)


def test_component_alone_to_disk_and_bytes(elmo_nlp, tmp_path, wide_model):
    elmo = elmo_nlp.get_pipe("elmo")
    elmo.to_disk(tmp_path)
    other = blank(wide_model)
    other.get_pipe("elmo").from_disk(tmp_path)
    assert_same(layers_of(other), layers_of(elmo_nlp))
    other = blank(wide_model)
    other.get_pipe("elmo").from_bytes(elmo.to_bytes())
    assert_same(layers_of(other), layers_of(elmo_nlp))

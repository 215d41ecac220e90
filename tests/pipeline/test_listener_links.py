"""Which "elmo" a listener reads: after changes of the pipeline, in copies of it, and with other models."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import spacy
import torch
from spacy.training import Example
from thinc.api import NumpyOps

from spacy_elmo.pipeline.component import Elmo

from .helpers import LISTENER_PATH, blank, examples, make_bilm, tagger_config, train

TEXT = "他打球，我打字。"
COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda nlp: pickle.loads(pickle.dumps(nlp))}


@pytest.fixture
def other_model(tmp_path):
    make_bilm("char", seed=5).save(tmp_path / "other_model")
    return tmp_path / "other_model"


@pytest.fixture
def two(char_model, other_model):
    """A tagger that was trained on the second of two "elmo", which is the nearest."""
    nlp = blank(char_model)
    nlp.add_pipe("elmo", name="elmo_law", config={"model": {"path": str(other_model)}})
    nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=2)
    return nlp


def scores(nlp, doc=None):
    doc = nlp(TEXT) if doc is None else doc
    return nlp.get_pipe("tagger").model.predict([doc])[0]


def update_without_elmo(nlp):
    eg = Example(nlp.make_doc(TEXT), examples(nlp)[2].reference)
    nlp.update([eg], exclude=["elmo", "elmo_law"])


# --- A trained listener stays with its model ---


@pytest.mark.parametrize("how", ["disable", "exclude"])
def test_a_trained_listener_does_not_move_to_another_model(two, tmp_path, how):
    two.to_disk(tmp_path / "saved")
    loaded = spacy.load(tmp_path / "saved", **{how: ["elmo_law"]})
    with pytest.raises(ValueError, match='"tagger" needs the vectors of "elmo_law"'):
        loaded(TEXT)
    if how == "disable":
        loaded.enable_pipe("elmo_law")
        np.testing.assert_array_equal(scores(loaded), scores(two))


def test_a_change_of_the_pipeline_while_a_model_is_disabled(two):
    expected = scores(two)
    with two.select_pipes(disable="elmo_law"):
        two.add_pipe("sentencizer")
        with pytest.raises(ValueError, match='"tagger" needs the vectors of "elmo_law"'):
            two(TEXT)
    np.testing.assert_array_equal(scores(two), expected)


def test_a_trained_listener_moves_to_the_same_model_of_another_name(two, other_model):
    nlp = blank(other_model)
    nlp.add_pipe("tagger", source=two)
    expected = nlp(TEXT)
    assert expected[0].tag_
    np.testing.assert_array_equal(scores(nlp), scores(nlp, expected))


def test_weights_that_are_read_again_take_no_listener_from_another(two):
    expected, elmo = scores(two), two.get_pipe("elmo")
    elmo.from_bytes(elmo.to_bytes())
    np.testing.assert_array_equal(scores(two), expected)
    assert (elmo.listening_components, two.get_pipe("elmo_law").listening_components) == ([], ["tagger"])


def test_a_former_name_that_a_disabled_component_has(two):
    two.rename_pipe("elmo", "elmo_old")
    two.rename_pipe("elmo_law", "elmo")
    two.disable_pipe("elmo")
    with pytest.raises(ValueError, match='"tagger" needs the vectors of "elmo"'):
        two(TEXT)
    two.enable_pipe("elmo")
    assert two(TEXT)[0].tag_


def test_another_model_under_the_same_name_is_told(two, char_model, tmp_path):
    nlp = blank(char_model)
    nlp.add_pipe("elmo", name="elmo_law", config={"model": {"path": str(char_model)}})
    nlp.add_pipe("tagger", source=two)
    with pytest.warns(UserWarning, match='"tagger" was trained on another model than that of "elmo_law"'):
        nlp(TEXT)
    two.to_disk(tmp_path / "saved")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nlp(TEXT)  # told once
        spacy.load(tmp_path / "saved")(TEXT)


@pytest.mark.parametrize("removed", [False, True])
def test_a_model_that_is_sourced_under_another_name(char_model, other_model, removed):
    first, nlp = blank(other_model), blank(char_model)
    nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=2)
    nlp.remove_pipe("elmo") if removed else nlp.disable_pipe("elmo")
    nlp.add_pipe("elmo", name="elmo_law", source=first, before="tagger")
    with pytest.raises(ValueError, match='"tagger" needs the vectors of "elmo"'):
        nlp(TEXT)


def test_the_same_model_in_half_precision(tagger_nlp, tmp_path):
    train(tagger_nlp, steps=1)
    tagger_nlp.get_pipe("elmo").model.shims[0].bilm.save(tmp_path / "half", dtype=torch.float16)
    nlp = blank(tmp_path / "half")
    nlp.add_pipe("tagger", source=tagger_nlp)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nlp(TEXT)[0].tag_


def test_a_second_initialization_without_the_model(two, char_model):
    two.remove_pipe("elmo_law")
    two.add_pipe("elmo", name="elmo2", first=True, config={"model": {"path": str(char_model)}})
    with pytest.raises(ValueError, match='"tagger" was made for the model of "elmo_law", which is not'):
        two.initialize(lambda: examples(two))


def test_a_second_initialization_with_another_width(tagger_nlp, wide_model):
    train(tagger_nlp, steps=1)
    tagger_nlp.config["initialize"]["components"]["elmo"] = {"path": str(wide_model)}
    with pytest.raises(ValueError, match='"tagger" was initialized for a model of other sizes than that of'):
        tagger_nlp.initialize(lambda: examples(tagger_nlp))


# --- Copies of a pipeline ---


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_runs_its_own_elmo(two, copied, monkeypatch):
    nlp, ran = COPIES[copied](two), []
    annotate = Elmo.annotate
    monkeypatch.setattr(Elmo, "annotate", lambda self, docs: ran.append(self) or annotate(self, docs))
    update_without_elmo(nlp)
    assert [each is nlp.get_pipe("elmo_law") for each in ran] == [True]


@pytest.mark.parametrize("copied", COPIES)
def test_listeners_of_a_copy_are_replaced(two, copied):
    nlp = COPIES[copied](two)
    nlp.replace_listeners("elmo_law", "tagger", [LISTENER_PATH])
    np.testing.assert_allclose(scores(nlp), scores(two), atol=1e-5)


@pytest.mark.parametrize("copied", COPIES)
def test_a_component_and_its_copy_in_one_pipeline(tagger_nlp, copied):
    train(tagger_nlp, steps=1)
    tagger_nlp.add_pipe("tagger", name="second", source=COPIES[copied](tagger_nlp))
    assert tagger_nlp.get_pipe("elmo").listening_components == ["tagger", "second"]
    tagger_nlp.replace_listeners("elmo", "tagger", [LISTENER_PATH])
    assert tagger_nlp(TEXT)[0].tag_


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_is_renamed_and_saved(two, copied, tmp_path):
    nlp = COPIES[copied](two)
    nlp.rename_pipe("elmo_law", "e2")
    nlp.to_disk(tmp_path / "saved")
    np.testing.assert_allclose(scores(spacy.load(tmp_path / "saved")), scores(two), atol=1e-5)
    assert two(TEXT)[0].tag_


# --- Static vectors, backend ---


def test_static_vectors_that_are_missing_are_refused(static_model):
    nlp = blank(static_model)
    nlp.add_pipe("tagger", config=tagger_config(use_static_vectors=True))
    train(nlp, steps=1)
    doc = nlp(TEXT)
    doc._.elmo = doc._.elmo.layers
    with pytest.raises(ValueError, match="for vectors of width 20"):
        nlp.get_pipe("tagger")(doc)


def test_the_last_elmo_decides_on_the_backend(char_model):
    nlp = blank(char_model)
    exact = {"model": {"path": str(char_model)}, "accelerate_listeners": False}
    nlp.add_pipe("elmo", name="exact", config=exact)
    nlp.add_pipe("tagger", config=tagger_config())
    assert {type(node.ops) for node in nlp.get_pipe("tagger").model.walk()} == {NumpyOps}

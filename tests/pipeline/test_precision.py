"""The precision of the component: what the settings do, that they are kept, and invalid precisions."""

import numpy as np
import pytest
import spacy
from thinc.api import ConfigValidationError

from spacy_elmo.inference import loading

from .helpers import layers_of

TEXT = "我去银行取钱。"


def pipeline(model, **settings):
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": str(model), **settings}})
    return nlp


@pytest.mark.parametrize("precision", ["f32", "bf16", "auto"])
def test_the_vectors_are_those_of_the_precision_and_stay_so(char_model, tmp_path, precision):
    nlp = pipeline(char_model, precision=precision)
    (expected,) = loading.load(char_model).encode([list(TEXT)], precision=precision)
    np.testing.assert_array_equal(layers_of(nlp, [TEXT])[0], expected)
    nlp.to_disk(tmp_path / "saved")
    again = spacy.load(tmp_path / "saved")
    np.testing.assert_array_equal(layers_of(again, [TEXT])[0], expected)
    assert again.config["components"]["elmo"]["model"]["precision"] == precision


def test_bf16_is_not_f32(char_model):
    f32, bf16 = (layers_of(pipeline(char_model, precision=p), [TEXT])[0] for p in ("f32", "bf16"))
    assert 0 < np.abs(f32 - bf16).max() < 0.05


def test_a_copy_of_the_layer_has_its_precision(char_model):
    nlp = pipeline(char_model, precision="bf16")
    copied = nlp.get_pipe("elmo").model.copy()
    doc = nlp(TEXT)
    np.testing.assert_array_equal(copied.predict([doc])[0], doc._.elmo.layers)


def test_the_same_bits_in_every_batch(char_model):
    nlp = pipeline(char_model)
    texts = [TEXT, "他打球，我打字。" * 9, "", "北京", "用 Linux"] * 3
    one_by_one = layers_of(nlp, texts, batch_size=1)
    for a, b in zip(layers_of(nlp, texts), one_by_one, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_precision_that_is_not_known(char_model):
    with pytest.raises(ConfigValidationError, match=r"precision.*('f16' is not|permitted: 'auto')"):
        pipeline(char_model, precision="f16")

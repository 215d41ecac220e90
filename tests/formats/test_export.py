"""Writing for bilm-tf, AllenNLP and simple_elmo: what others read is what we have, and it comes back."""

import json
import os

import numpy as np
import pytest
import torch

from spacy_elmo.formats import FormatError, load_bilm_tf, load_simple_elmo, save_bilm_tf
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import Vocab

from .helpers import (
    FIXTURES,
    OPTIONS,
    SENTENCE,
    WORDS,
    bilm_tf_layers,
    bilm_tf_tensors,
    options,
    write_bilm_tf,
)

h5py = pytest.importorskip("h5py", reason="reads and writes HDF5")


def read_hdf5(path):
    tensors = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, x: tensors.update({name: x[:]} if isinstance(x, h5py.Dataset) else {}))
    return tensors


def random_bilm(words=(), *, seed=0, **settings):
    torch.manual_seed(seed)
    defaults = {
        "units": "word",
        "projection_dim": 6,
        "hidden_size": 12,
        "fold_fullwidth": False,
        "char_embedding_dim": 3,
    }
    byte = {"token_encoder": "char_cnn", "char_input": "utf8", "convolve_padding": True, "tie_softmax": False}
    config = BiLMConfig(**{**defaults, **({} if words else byte), **settings})
    vocab = Vocab(words, fold_fullwidth=config.fold_fullwidth, uses_bytes=config.char_input == "utf8")
    bilm = BiLM(config, vocab)
    with torch.no_grad():
        for parameter in bilm.parameters():
            parameter.normal_(std=0.4)
    return bilm.eval()


VARIANTS = {
    "ordinary": OPTIONS,
    "one layer": options({"n_layers": 1}),
    "no clips": options({"cell_clip": None, "proj_clip": None}),
    "no projections": options({"dim": 6}, filters=[[1, 3], [3, 3]]),
    "tanh": options({"use_skip_connections": False}, activation="tanh", n_highway=1),
    "short words": options(max_characters_per_token=20),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_was_read_is_written_to_the_bit(name, tmp_path):
    tensors = bilm_tf_tensors(VARIANTS[name])
    bilm = load_bilm_tf(*write_bilm_tf(tmp_path / "theirs", VARIANTS[name], tensors))
    save_bilm_tf(bilm, tmp_path / "ours")
    written = read_hdf5(tmp_path / "ours" / "model.hdf5")
    assert written.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert written[key].dtype == np.float32
        np.testing.assert_array_equal(written[key], tensor)
    described = json.loads((tmp_path / "ours" / "options.json").read_text())
    theirs = VARIANTS[name]
    if name == "no projections":  # nothing is projected, so its clip is none
        theirs = options({"dim": 6, "proj_clip": None}, filters=[[1, 3], [3, 3]])
    assert described["char_cnn"] == theirs["char_cnn"]
    assert described["lstm"] == theirs["lstm"]
    back = load_simple_elmo(tmp_path / "ours")
    assert back.config == bilm.config
    np.testing.assert_array_equal(back.encode([SENTENCE])[0], bilm.encode([SENTENCE])[0])


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the published data are not beside this checkout")
def test_the_published_weights_are_written_to_the_bit(tmp_path):
    bilm = load_bilm_tf(FIXTURES / "options.json", FIXTURES / "lm_weights.hdf5")
    save_bilm_tf(bilm, tmp_path / "out")
    one, other = (read_hdf5(p) for p in (FIXTURES / "lm_weights.hdf5", tmp_path / "out" / "model.hdf5"))
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)
    ours, theirs = (
        json.loads(p.read_text()) for p in (tmp_path / "out/options.json", FIXTURES / "options.json")
    )
    assert {key: ours[key] for key in theirs} == theirs


def test_a_model_with_fewer_cells_than_outputs(tmp_path):
    # AllenNLP projects to any width; here cells are added that stay at zero, and they are written too.
    tensors = bilm_tf_tensors(options({"dim": 4}))
    bilm = load_bilm_tf(*write_bilm_tf(tmp_path / "theirs", options({"dim": 4}), tensors))
    wanted = bilm_tf_layers(options({"dim": 4}), tensors, SENTENCE)
    np.testing.assert_allclose(bilm.encode([SENTENCE])[0], wanted, atol=1e-5)
    save_bilm_tf(bilm, tmp_path / "ours")
    back = load_simple_elmo(tmp_path / "ours")
    np.testing.assert_array_equal(back.encode([SENTENCE])[0], bilm.encode([SENTENCE])[0])


@pytest.mark.parametrize(
    "settings", [{}, {"cell_clip": 0.2, "proj_clip": 0.1}, {"use_skip_connections": False}], ids=str
)
def test_our_own_char_cnn_as_others_compute_it(settings, tmp_path):
    bilm = random_bilm(**settings)
    save_bilm_tf(bilm, tmp_path / "out")
    described = json.loads((tmp_path / "out" / "options.json").read_text())
    tensors = read_hdf5(tmp_path / "out" / "model.hdf5")
    wanted = bilm_tf_layers(described, tensors, SENTENCE)
    # Values up to 30, sums in float32 against float64.
    np.testing.assert_allclose(bilm.encode([SENTENCE])[0], wanted, rtol=1e-5, atol=1e-5)
    back = load_simple_elmo(tmp_path / "out")
    np.testing.assert_allclose(back.encode([SENTENCE])[0], bilm.encode([SENTENCE])[0], rtol=1e-5, atol=1e-6)


TABLES = {
    "tied": {},
    "untied": {"tie_softmax": False},
    "of another width": {"tie_softmax": False, "embedding_dim": 4},
    "characters": {"units": "char", "fold_fullwidth": True, "lang": "zh"},
}


@pytest.mark.parametrize("name", TABLES)
def test_our_own_tables_as_others_compute_them(name, tmp_path):
    units = ["你", "好", " ", "A"] if name == "characters" else WORDS
    bilm = random_bilm(units, **TABLES[name])
    save_bilm_tf(bilm, tmp_path / "out")
    lines = (tmp_path / "out" / "vocab.txt").read_text(encoding="utf8").split("\n")[:-1]
    assert lines == ["<S>", "</S>", "<UNK>", *units]
    described = json.loads((tmp_path / "out" / "options.json").read_text())
    tensors = read_hdf5(tmp_path / "out" / "model.hdf5")
    sentence = [units[1], "never seen", units[0]]
    embedded = tensors["embedding"][[0, 4, 2, 3, 1]]
    wanted = bilm_tf_layers(described, tensors, sentence, embedded=embedded)
    np.testing.assert_allclose(bilm.encode([sentence])[0], wanted, atol=1e-5)
    back = load_simple_elmo(tmp_path / "out")
    assert back.vocab.units == bilm.vocab.units
    assert {
        getattr(back.config, key) == getattr(bilm.config, key) for key in ("units", "fold_fullwidth", "lang")
    } == {True}
    np.testing.assert_allclose(back.encode([sentence])[0], bilm.encode([sentence])[0], atol=1e-6)
    save_bilm_tf(back, tmp_path / "again")  # and from then on to the bit
    again = read_hdf5(tmp_path / "again" / "model.hdf5")
    np.testing.assert_array_equal(again["embedding"], tensors["embedding"])


REFUSED = {
    "stacked_bidirectional": ({"stacked_bidirectional": True, "has_softmax": False}, "stacked_bidirectional"),
    "characters": ({"char_input": "unicode"}, "char-CNN of bilm-tf reads bytes"),
    "no padding": ({"convolve_padding": False}, "char-CNN of bilm-tf reads bytes"),
    "both": ({"token_encoder": "both"}, "words or characters, not both"),
    "clip": ({"hidden_size": 6, "proj_clip": 0.5}, "cannot clip LSTM states without a projection"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_format_cannot_describe_is_refused(name, tmp_path):
    settings, message = REFUSED[name]
    config = BiLMConfig(
        **{
            "units": "word",
            "projection_dim": 6,
            "hidden_size": 12,
            "token_encoder": "char_cnn",
            "char_input": "utf8",
            "convolve_padding": True,
            "tie_softmax": False,
            **settings,
        }
    )
    uses_bytes = config.char_input == "utf8"
    bilm = BiLM(config, Vocab(WORDS, () if uses_bytes else "abc", uses_bytes=uses_bytes))
    with pytest.raises(FormatError, match=message):
        save_bilm_tf(bilm, tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("units", [["a", "a "], ["a", "<UNK>"], ["x\r"], ["!!!MAXTERMID"]], ids=repr)
def test_words_that_their_vocabulary_cannot_hold(units, tmp_path):
    with pytest.raises(FormatError, match="white space or is a special token of"):
        save_bilm_tf(random_bilm(units), tmp_path / "out")


def test_other_peoples_folders_are_left_alone(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="it holds other files"):
        save_bilm_tf(random_bilm(), tmp_path)


def test_a_model_with_ngrams_is_refused(tmp_path):
    config = BiLMConfig(projection_dim=6, hidden_size=12, n_ngrams=1)
    bilm = BiLM(config, Vocab("我爱", ngrams=["我爱"]))
    with pytest.raises(
        FormatError, match=r"^bilm-tf does not support n-grams, so this model cannot be exported\.$"
    ):
        save_bilm_tf(bilm, tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""A biLM in an ONNX file gives the vectors of BiLM.encode, to 1e-5 on all layers."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modeling.helpers import ENCODERS, WORDS, make_bilm

import spacy_elmo
from spacy_elmo.errors import OutputError
from spacy_elmo.formats import FormatError, save_onnx

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

MODELS = {
    **ENCODERS,
    "no projection": {"projection_dim": 10},
    "narrow n-grams": {**ENCODERS["n-grams"], "ngram_dim": 4},
    "n-grams of 4": {**ENCODERS["n-grams"], "max_ngram_length": 4},
    "clips": {"cell_clip": 0.3, "proj_clip": 0.2},
    "no skip connection": {"use_skip_connections": False, "n_layers": 3},
    "padding is read": {**ENCODERS["char_cnn"], "convolve_padding": True},
    "joined": {"stacked_bidirectional": True, "has_softmax": False, "tie_softmax": False},
}
UNITS = st.one_of(st.sampled_from(sorted({*WORDS, *"".join(WORDS), "未知", "Ｌ"})), st.text(max_size=8))
SENTENCES = st.lists(st.lists(UNITS, max_size=12), min_size=1, max_size=4)


def run(path, bilm, sentences):
    """The layers of sentences by onnxruntime: (L, n, D) each, and what follows their ends."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    lengths = np.array([len(sentence) for sentence in sentences])
    shape = len(sentences), max(lengths)
    given = {
        "unit_ids": np.full(shape, 7),
        "character_ids": np.full((*shape, bilm.config.max_characters_per_token + 2), 7),
    }
    for row, sentence in enumerate(sentences):
        given["unit_ids"][row, : len(sentence)] = bilm.vocab.ids(sentence)[1:-1]
        spelled = bilm.vocab.character_ids(sentence, bilm.config.max_characters_per_token)
        given["character_ids"][row, : len(sentence)] = spelled
    wanted = [value.name for value in session.get_inputs()]
    (layers,) = session.run(["layers"], {name: {**given, "lengths": lengths}[name] for name in wanted})
    assert layers.dtype == np.float32
    assert layers.shape == (bilm.n_layers, *shape, bilm.width)
    return [layers[:, i, :n] for i, n in enumerate(lengths)], [
        layers[:, i, n:] for i, n in enumerate(lengths)
    ]


@pytest.fixture(scope="module", params=MODELS)
def exported(request, tmp_path_factory):
    bilm = make_bilm(**MODELS[request.param])
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    save_onnx(bilm, path)
    return str(path), bilm


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sentences=SENTENCES)
def test_the_layers_are_those_of_encode(exported, sentences):
    path, bilm = exported
    layers, rest = run(path, bilm, sentences)
    for one, other, after in zip(layers, bilm.encode(sentences), rest, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert not after.any()


def test_the_bundled_model_and_its_ngrams(tmp_path):
    bilm = spacy_elmo.load("zh_elmo_sm")
    save_onnx(bilm, tmp_path / "zh.onnx")
    sentences = [list("阳台上的花开了。"), list("装修房子花了二十万，１９９８年！"), list("㐀"), []]
    layers, _ = run(str(tmp_path / "zh.onnx"), bilm, sentences)
    for one, other in zip(layers, bilm.encode(sentences), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert bilm.vocab.ngram_rows(bilm.vocab.ids(sentences[0])[None]).any()


def test_the_metadata_makes_ids(tmp_path):
    bilm = make_bilm(**ENCODERS["both"])
    save_onnx(bilm, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    metadata = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    ids = {unit: i for i, unit in enumerate(metadata["specials"] + metadata["units"])}
    assert [ids[word] for word in WORDS] == bilm.vocab.ids(WORDS)[1:-1].tolist()
    assert metadata["characters"] == bilm.vocab.characters
    assert metadata["config"]["max_characters_per_token"] == bilm.config.max_characters_per_token


def test_a_file_that_exists_is_left_alone(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"of somebody else")
    with pytest.raises(OutputError, match="it already exists; name a new file"):
        save_onnx(make_bilm(), path)
    assert path.read_bytes() == b"of somebody else"
    with pytest.raises(OutputError, match=r"model\.onnx is a file, not a folder"):
        save_onnx(make_bilm(), path / "below.onnx")


def test_a_model_above_2_gb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_elmo.formats.onnx_export.LARGEST", 1000)
    with pytest.raises(FormatError, match="an ONNX file holds at most 2 GB"):
        save_onnx(make_bilm(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(FormatError, match=r"pip install 'spacy-elmo\[onnx\]'"):
        save_onnx(make_bilm(), tmp_path / "model.onnx")

"""ELMoForManyLangs' models against its own program, where it is installed, and a plain computation.

To run its program too: pip install --no-deps elmoformanylangs==0.0.4.post2 overrides==3.1.0
"""

import json
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.errors import ElmoError, FormatError
from spacy_elmo.formats import load_elmoformanylangs
from spacy_elmo.inference import loading

from .helpers import SENTENCE, WORDS, architecture, many_langs_layers, write_many_langs

SENTENCES = [SENTENCE, ["the"], ["cat", "的", "ab", "zzz"], ["a" * 48, "a" * 49, "的" * 60]]

ENCODERS = {
    "elmo": {},
    "elmo, one layer": {"n_layers": 1},
    "elmo, three layers": {"n_layers": 3},
    "elmo, cell clip triggers": {"cell_clip": 0.2},
    "elmo, projection clip triggers": {"proj_clip": 0.1},
    "elmo, both clips trigger": {"cell_clip": 0.3, "proj_clip": 0.2},
    "elmo, as many cells as outputs": {"dim": 6, "cell_clip": 0.3},
    "elmo, fewer cells than outputs": {"dim": 4, "cell_clip": 0.3},
    "lstm": {"name": "lstm"},
    "lstm, one layer": {"name": "lstm", "n_layers": 1},
    "lstm, three layers": {"name": "lstm", "n_layers": 3, "dim": 4},
}
EMBEDDERS = {
    "words and characters": {},
    "characters": {"word_dim": 0},
    "words": {"char_dim": 0},
    "words of the width of a layer": {"char_dim": 0, "word_dim": 6},
    "words, without a limit": {"name": "lstm", "char_dim": 0},
    "tanh": {"activation": "tanh"},
    "no highways": {"n_highway": 0},
    "short words": {"max_characters_per_token": 7, "filters": [[1, 4], [7, 3]]},
}


def its_program(folder):
    """The model of its own program. It gives the layers of a batch with its boundaries."""
    module = pytest.importorskip("elmoformanylangs", reason="its own program, pip install elmoformanylangs")
    return module.Embedder(str(folder))


def its_layers(embedder, sentence):
    """Its vectors of a sentence alone, since its encoder "lstm" reads the padding of a batch: (L, n, 2P)."""
    embedder.model.encoder._states = None  # it would continue from the last sentence
    out = np.asarray(embedder.sents2elmo([list(sentence)], output_layer=-2)[0])
    return out if out.ndim == 3 else out[None]


@pytest.mark.parametrize("embedder", EMBEDDERS)
@pytest.mark.parametrize("encoder", ["elmo", "lstm"])
def test_every_embedder_equals_its_program(encoder, embedder, tmp_path):
    compare(architecture(ENCODERS[encoder], **EMBEDDERS[embedder]), tmp_path)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_equals_its_program(encoder, tmp_path):
    compare(architecture(ENCODERS[encoder]), tmp_path)


def compare(described, folder):
    write_many_langs(folder, described)
    theirs = its_program(folder)
    bilm = load_elmoformanylangs(folder)
    for sentence, layers in zip(SENTENCES, bilm.encode(SENTENCES), strict=True):
        wanted = its_layers(theirs, sentence)
        assert layers.shape[1:] == (len(sentence), 12)
        if described["encoder"]["name"] == "lstm":
            assert len(layers) == 2
            np.testing.assert_allclose(layers[1], wanted[0], atol=1e-5)
        else:
            assert len(layers) == described["encoder"]["n_layers"] + 1
            np.testing.assert_allclose(layers, wanted, atol=1e-5)


def test_the_carried_state_equals_its_programs(tmp_path):
    write_many_langs(tmp_path, architecture())
    theirs, bilm = its_program(tmp_path), load_elmoformanylangs(tmp_path)
    theirs.batch_size = 4
    # Its batches are sorted by length: given so, rows stay where they are. More rows, then fewer, then more.
    batches = [
        SENTENCES[:1],
        [["cat", "的", "a"], ["the"]],
        [["sat"]],
        [["x", "y"], ["的"], []],
        [["cat"]] * 2,
    ]
    for batch in batches:
        wanted = theirs.sents2elmo(batch, output_layer=-2)
        for layers, other in zip(bilm.encode(batch, stateful=True), wanted, strict=True):
            np.testing.assert_allclose(layers, other, atol=1e-5)
    assert np.abs(bilm.encode([["cat"]])[0] - wanted[0]).max() > 0.01  # cold


# without its program


@pytest.mark.parametrize("embedder", [e for e in EMBEDDERS if "short" not in e and "without" not in e])
def test_every_embedder_equals_the_plain_computation(embedder, tmp_path):
    described = architecture(**EMBEDDERS[embedder])
    parts = write_many_langs(tmp_path, described)
    layers = load_elmoformanylangs(tmp_path).encode([SENTENCE])[0]
    np.testing.assert_allclose(layers, many_langs_layers(described, *parts, SENTENCE), atol=1e-5)


@pytest.mark.parametrize("encoder", [e for e in ENCODERS if "elmo" in e])
def test_every_encoder_equals_the_plain_computation(encoder, tmp_path):
    described = architecture(ENCODERS[encoder])
    parts = write_many_langs(tmp_path, described)
    layers = load_elmoformanylangs(tmp_path).encode([SENTENCE])[0]
    wanted = many_langs_layers(described, *parts, SENTENCE)
    np.testing.assert_allclose(layers, wanted, atol=1e-5)
    if "trigger" in encoder:
        free = architecture({**ENCODERS[encoder], "cell_clip": 0, "proj_clip": 0})
        assert np.abs(many_langs_layers(free, *parts, SENTENCE) - wanted).max() > 0.01


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many_langs")
    parts = write_many_langs(folder, architecture())
    return load_elmoformanylangs(folder), parts


@settings(max_examples=15, deadline=None)
@given(st.lists(st.one_of(st.text(min_size=1, max_size=60), st.sampled_from(WORDS)), min_size=1, max_size=5))
def test_any_words(example, sentence):
    bilm, parts = example
    marks = {"<bos>", "<eos>", "<pad>"}  # there, these in a text stand for the marks themselves
    sentence = [word for word in sentence if word not in marks]
    if sentence:
        wanted = many_langs_layers(architecture(), *parts, sentence)
        np.testing.assert_allclose(bilm.encode([sentence])[0], wanted, atol=1e-5)


def test_the_word_is_cut_before_it_is_looked_up(tmp_path):
    described = architecture(max_characters_per_token=6)
    write_many_langs(tmp_path, described, words=["abcd", "abcdef"])
    layers = load_elmoformanylangs(tmp_path).encode([["abcd", "abcdef", "abcx"]])[0]
    np.testing.assert_allclose(layers[0, 0], layers[0, 1], atol=1e-6)
    assert np.abs(layers[0, 0] - layers[0, 2]).max() > 1e-3


@pytest.mark.parametrize("encoder", ["elmo", "lstm"])
def test_a_vector_does_not_depend_on_the_batch(encoder, tmp_path):
    write_many_langs(tmp_path, architecture(ENCODERS[encoder]))
    bilm = load_elmoformanylangs(tmp_path)
    for sentence, layers in zip(SENTENCES, bilm.encode(SENTENCES), strict=True):
        np.testing.assert_allclose(bilm.encode([sentence])[0], layers, atol=1e-5)


@pytest.mark.parametrize("encoder", ["elmo", "lstm"])
@pytest.mark.parametrize("embedder", EMBEDDERS)
def test_the_model_folder_gives_the_same_bits(encoder, embedder, tmp_path):
    write_many_langs(tmp_path / "theirs", architecture(ENCODERS[encoder], **EMBEDDERS[embedder]))
    bilm = load_elmoformanylangs(tmp_path / "theirs", lang="zh", segmenter="jieba")
    bilm.save(tmp_path / "model")
    back = loading.load(tmp_path / "model")
    assert back.config == bilm.config
    assert (back.config.lang, back.config.segmenter) == ("zh", "jieba")
    np.testing.assert_array_equal(back.encode([SENTENCE])[0], bilm.encode([SENTENCE])[0])


def test_white_space_in_a_lexicon_is_the_ideographic_space(tmp_path):
    parts = write_many_langs(tmp_path, architecture(word_dim=0))
    row = parts[3]["\u3000"]
    text = (tmp_path / "char.dic").read_text(encoding="utf8")
    for other in ("\u3000", " ", "", "\u2028", "\r"):
        (tmp_path / "char.dic").write_bytes(text.replace(f"\u3000\t{row}", f"{other}\t{row}").encode())
        layers = load_elmoformanylangs(tmp_path).encode([["a\u3000b"]])[0]
        wanted = many_langs_layers(architecture(word_dim=0), *parts, ["a\u3000b"])
        np.testing.assert_allclose(layers, wanted, atol=1e-5)


# where the architecture stands


def test_the_architecture_is_found_where_config_json_says_and_in_the_folder(tmp_path):
    write_many_langs(tmp_path / "model", architecture())
    wanted = load_elmoformanylangs(tmp_path / "model").encode([SENTENCE])[0]
    (tmp_path / "model" / "configs").mkdir()
    place = (tmp_path / "model" / "sample.json").rename(tmp_path / "model" / "configs" / "elsewhere.json")
    for named in ("configs/elsewhere.json", str(place)):
        (tmp_path / "model" / "config.json").write_text(json.dumps({"config_path": named}))
        np.testing.assert_array_equal(load_elmoformanylangs(tmp_path / "model").encode([SENTENCE])[0], wanted)
    (tmp_path / "model" / "config.json").write_text(json.dumps({"config_path": "C:\\a\\elsewhere.json"}))
    with pytest.raises(ElmoError, match=r"lacks elsewhere\.json, which its config\.json names"):
        load_elmoformanylangs(tmp_path / "model")
    place.rename(tmp_path / "model" / "elsewhere.json")
    np.testing.assert_array_equal(load_elmoformanylangs(tmp_path / "model").encode([SENTENCE])[0], wanted)


def test_the_released_models_come_without_their_architecture(tmp_path):
    write_many_langs(tmp_path, architecture(), config_path="cnn_50_100_512_4096_sample.json")
    # That of the sample is meant, not that of this tiny model.
    with pytest.raises(ElmoError, match=r"lacks convolutions\.3\.weight of shape \(128, 50, 4\) and 7 more"):
        load_elmoformanylangs(tmp_path)


@pytest.mark.parametrize("inner", ["", "145/"])
def test_the_zip_archive_is_read_as_it_is(inner, tmp_path):
    write_many_langs(tmp_path / "model", architecture())
    with zipfile.ZipFile(tmp_path / "model.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (tmp_path / "model").iterdir():
            archive.write(path, inner + path.name)
    one, other = (
        load_elmoformanylangs(tmp_path / name).encode([SENTENCE])[0] for name in ("model", "model.zip")
    )
    np.testing.assert_array_equal(one, other)


def test_files_of_old_torch(tmp_path):
    lower, *_ = write_many_langs(tmp_path, architecture())
    wanted = load_elmoformanylangs(tmp_path).encode([SENTENCE])[0]
    torch.save(lower, tmp_path / "token_embedder.pkl", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(load_elmoformanylangs(tmp_path).encode([SENTENCE])[0], wanted)


def test_a_record_of_a_torch_file_that_is_too_large_is_refused_before_torch_copies_it(tmp_path):
    write_many_langs(tmp_path, architecture())
    path = tmp_path / "encoder.pkl"
    with zipfile.ZipFile(path) as archive:
        records = {member.filename: archive.read(member) for member in archive.infolist()}
    (version,) = (name for name in records if name.endswith("/version"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content if name != version else b"3" * (2**20 + 1))
    with pytest.raises(FormatError, match=r"encoder\.pkl is damaged: its record .*version has more than"):
        load_elmoformanylangs(tmp_path)


def test_joined_directions_carry_no_state_and_predict_nothing(tmp_path):
    write_many_langs(tmp_path, architecture({"name": "lstm"}))
    bilm = load_elmoformanylangs(tmp_path)
    with pytest.raises(ElmoError, match="keeps no state"):
        bilm.encode([["a"]], stateful=True)
    with pytest.raises(ElmoError, match="has no softmax"):
        _ = bilm.softmax_weight

"""`spacy elmo convert`: from others, and for others."""

import os

import numpy as np
import pytest
import torch
from formats.helpers import (
    ARCHITECTURE,
    OPTIONS,
    SENTENCE,
    WORDS,
    bilm_tf_layers,
    bilm_tf_tensors,
    many_langs_layers,
    write_bilm_tf,
    write_hdf5,
    write_many_langs,
)

from spacy_elmo.inference import loading

from .helpers import plain, run, tiny
from .test_errors import refused

pytest.importorskip("h5py", reason="reads and writes HDF5")

TENSORS = bilm_tf_tensors(OPTIONS)
WANTED = bilm_tf_layers(OPTIONS, TENSORS, SENTENCE)


@pytest.fixture
def theirs(tmp_path):
    write_bilm_tf(tmp_path / "theirs", OPTIONS, TENSORS)
    return tmp_path / "theirs"


def converted(folder, *args):
    result = run("convert", *args)
    assert result.exit_code == 0, result.output
    assert "3 layers of width 12" in plain(result.output)
    return loading.load(folder)


@pytest.mark.parametrize("kind", ["bilm-tf", "allennlp"])
def test_bilm_tf(kind, theirs, tmp_path):
    options = ["--lang", "en", "--segmenter", "Mine"]
    files = theirs / "options.json", theirs / "model.hdf5"
    bilm = converted(tmp_path / "out", *files, tmp_path / "out", "--from", kind, *options)
    assert (bilm.config.lang, bilm.config.segmenter) == ("en", "Mine")
    np.testing.assert_allclose(bilm.encode([SENTENCE])[0], WANTED, atol=1e-5)


def test_bilm_tf_of_words(tmp_path):
    described, vocab = {"lstm": OPTIONS["lstm"]}, ["<S>", "</S>", "<UNK>", *WORDS]
    tensors = bilm_tf_tensors(described, n_words=len(vocab))
    files = write_bilm_tf(tmp_path / "theirs", described, tensors, vocab)
    bilm = converted(
        tmp_path / "out", "--from", "bilm-tf", *files, tmp_path / "theirs" / "vocab.txt", tmp_path / "out"
    )
    wanted = bilm_tf_layers(described, tensors, ["cat"], embedded=tensors["embedding"][[0, 4, 1]])
    np.testing.assert_allclose(bilm.encode([["cat"]])[0], wanted, atol=1e-5)
    files = write_bilm_tf(tmp_path / "theirs", OPTIONS, TENSORS, vocab)
    vectors = tmp_path / "vectors.h5"
    write_hdf5(vectors, {"embedding": tensors["embedding"]})
    bilm = converted(
        tmp_path / "2",
        "--from",
        "bilm-tf",
        *files,
        tmp_path / "theirs" / "vocab.txt",
        vectors,
        tmp_path / "2",
    )
    np.testing.assert_array_equal(bilm.encode([["cat"]])[0][0, 0, :6], tensors["embedding"][4])


def test_simple_elmo(theirs, tmp_path):
    for source in (theirs, theirs / "model.hdf5"):
        bilm = converted(tmp_path / "out", "--from", "simple-elmo", source, tmp_path / "out")
        np.testing.assert_allclose(bilm.encode([SENTENCE])[0], WANTED, atol=1e-5)


def test_elmoformanylangs(tmp_path):
    parts = write_many_langs(tmp_path / "theirs", ARCHITECTURE)
    bilm = converted(tmp_path / "out", "--from", "elmoformanylangs", tmp_path / "theirs", tmp_path / "out")
    wanted = many_langs_layers(ARCHITECTURE, *parts, SENTENCE)
    np.testing.assert_allclose(bilm.encode([SENTENCE])[0], wanted, atol=1e-5)


@pytest.mark.parametrize("kind", [["--from", "spacy-elmo"], []])
def test_to_bilm_tf_and_back(kind, theirs, tmp_path):
    first = converted(tmp_path / "1", "--from", "simple-elmo", theirs, tmp_path / "1")
    assert run("convert", *kind, tmp_path / "1", tmp_path / "2", "--to", "bilm-tf").exit_code == 0
    assert sorted(os.listdir(tmp_path / "2")) == ["model.hdf5", "options.json"]
    last = converted(tmp_path / "3", "--from", "simple-elmo", tmp_path / "2", tmp_path / "3")
    assert last.config == first.config
    for name, tensor in first.state_dict().items():
        assert torch.equal(last.state_dict()[name], tensor), name


def test_straight_from_one_system_to_another(theirs, tmp_path):
    assert run("convert", "--from", "simple-elmo", theirs, tmp_path / "out", "--to", "bilm-tf").exit_code == 0
    assert (tmp_path / "out" / "model.hdf5").is_file()


def test_a_pretrained_model_for_others(made, tmp_path):
    ours, sentence = made / "run" / "model", list("我爱北京天安门")
    assert run("convert", ours, tmp_path / "out", "--to", "bilm-tf").exit_code == 0
    assert run("convert", "--from", "simple-elmo", tmp_path / "out", tmp_path / "back").exit_code == 0
    one, other = (loading.load(path).encode([sentence])[0] for path in (ours, tmp_path / "back"))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_char_cnn_of_bytes_is_pretrained_for_others(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("The cat sat on the mat.\nКошка сидит на ковре.\n" * 10, encoding="utf8")
    corpus = ["corpus", text, tmp_path / "corpus", "--units", "word", "--lang", "xx"]
    assert run(*corpus).exit_code == 0
    settings = {
        "--model.token_encoder": "char_cnn",
        "--model.char_input": "utf8",
        "--model.convolve_padding": "true",
        "--model.tie_softmax": "false",
    }
    result = run(*tiny(tmp_path, **settings))
    assert result.exit_code == 0, result.output
    ours = tmp_path / "run" / "model"
    assert run("convert", ours, tmp_path / "out", "--to", "bilm-tf").exit_code == 0
    assert run("convert", "--from", "simple-elmo", tmp_path / "out", tmp_path / "back").exit_code == 0
    one, other = (loading.load(path).encode([SENTENCE])[0] for path in (ours, tmp_path / "back"))
    np.testing.assert_allclose(one, other, atol=1e-5)
    args = tiny(tmp_path, **settings, **{"--model.has_softmax": "false"})
    args[args.index("--output") + 1] = tmp_path / "2"
    refused(tmp_path, *args, message="A model without a softmax cannot be trained")


def test_what_is_refused(theirs, tmp_path, made):
    out, files = tmp_path / "out", (theirs / "options.json", theirs / "model.hdf5")
    for args, message in (
        (["--from", "nonsense", theirs, out], "--from nonsense is not known: use bilm-tf, allennlp"),
        (
            ["--from", "bilm-tf", files[0], out],
            "--from bilm-tf takes OPTIONS WEIGHTS [VOCABULARY [VECTORS]], but 1 source ",
        ),
        (["--from", "simple-elmo", theirs, theirs, out], "but 2 sources were given before the output"),
        (["--from", "allennlp", *files, files[0], out], "--from allennlp takes OPTIONS WEIGHTS, but 3"),
        (["--from", "elmoformanylangs", theirs, out], "has no config.json"),
        (["--from", "simple-elmo", tmp_path / "nowhere", out], "does not exist"),
        (["--from", "bilm-tf", *reversed(files), out], "is not a JSON file, or is damaged"),
        ([theirs, out], "is not a model folder"),
        (["--from", "simple-elmo", theirs, theirs], "it holds other files"),
        (["--from", "simple-elmo", theirs, files[0]], "it is a file"),
        (["--from", "simple-elmo", theirs, out, "--to", "keras"], "--to keras is not known"),
        (["--from", "spacy-elmo", theirs, out, "--lang", "en"], "records its language and segmenter"),
    ):
        refused(tmp_path, "convert", *args, message=message)
    assert run("convert").exit_code == 2
    assert run("convert", out).exit_code == 2
    write_many_langs(tmp_path / "many", ARCHITECTURE)
    args = ["--from", "elmoformanylangs", tmp_path / "many", out, "--to", "bilm-tf"]
    refused(tmp_path, "convert", *args, message="bilm-tf reads words or characters, not both")
    refused(tmp_path, "convert", made / "run" / "model", tmp_path / ("z" * 300), message="too long")


def test_models_without_a_softmax_have_no_perplexity(theirs, tmp_path, text):
    converted(tmp_path / "out", "--from", "simple-elmo", theirs, tmp_path / "out")
    refused(tmp_path, "evaluate", tmp_path / "out", text, message="This model has no softmax")
    assert "bytes of UTF-8" in run("info", tmp_path / "out").output

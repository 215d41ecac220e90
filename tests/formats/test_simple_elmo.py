"""simple_elmo's folders and archives."""

import gzip
import zipfile

import numpy as np
import pytest

from spacy_elmo.formats import FormatError, load_simple_elmo

from .helpers import OPTIONS, SENTENCE, WORDS, bilm_tf_layers, bilm_tf_tensors, write_bilm_tf

pytest.importorskip("h5py", reason="reads and writes HDF5")

TENSORS = bilm_tf_tensors(OPTIONS)
WANTED = bilm_tf_layers(OPTIONS, TENSORS, SENTENCE)


@pytest.fixture
def folder(tmp_path):
    write_bilm_tf(tmp_path / "model", OPTIONS, TENSORS)
    return tmp_path / "model"


def check(path):
    np.testing.assert_allclose(load_simple_elmo(path).encode([SENTENCE])[0], WANTED, atol=1e-5)


def zipped(folder, target, inner=""):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, inner + path.name)
    return target


def test_a_folder(folder):
    check(folder)
    check(str(folder))


def test_an_hdf5_file_with_its_options(folder):
    check(folder / "model.hdf5")
    check((folder / "model.hdf5").rename(folder / "weights.h5"))


@pytest.mark.parametrize("inner", ["", "196/"])
def test_an_archive(inner, folder):
    (folder / "meta.json").write_text("{}")  # NLPL's archives hold more
    (folder / "vocab.txt").write_text("<S>\n</S>\n<UNK>\n")
    check(zipped(folder, folder.parent / "196.zip", inner))


def test_weights_of_another_name(folder):
    (folder / "model.hdf5").rename(folder / "elmo_weights.hdf5")
    check(folder)
    (folder / "other.hdf5").write_bytes(b"")
    with pytest.raises(
        FormatError, match=r"holds elmo_weights\.hdf5 and other\.hdf5: give the path of one of them"
    ):
        load_simple_elmo(folder)
    check(folder / "elmo_weights.hdf5")


def test_a_vocabulary_of_words_plain_or_packed(folder):
    vocab = ["<S>", "</S>", "<UNK>", *WORDS]
    described = {"lstm": OPTIONS["lstm"]}
    tensors = bilm_tf_tensors(described, n_words=len(vocab))
    write_bilm_tf(folder, described, tensors, vocab)
    wanted = bilm_tf_layers(described, tensors, ["cat"], embedded=tensors["embedding"][[0, 4, 1]])
    np.testing.assert_allclose(load_simple_elmo(folder).encode([["cat"]])[0], wanted, atol=1e-5)
    text = (folder / "vocab.txt").read_bytes()
    (folder / "vocab.txt").unlink()
    with pytest.raises(FormatError, match="give the vocabulary"):
        load_simple_elmo(folder)
    (folder / "vocab.txt.gz").write_bytes(gzip.compress(text))
    np.testing.assert_allclose(load_simple_elmo(folder).encode([["cat"]])[0], wanted, atol=1e-5)
    (folder / "vocab.txt.gz").write_bytes(gzip.compress(text)[:-9])
    with pytest.raises(FormatError, match=r"vocab\.txt\.gz is damaged"):
        load_simple_elmo(folder)


def test_language_and_segmenter_are_recorded(folder):
    config = load_simple_elmo(folder, lang="ru", segmenter="RussianTokenizer").config
    assert (config.lang, config.segmenter) == ("ru", "RussianTokenizer")

"""Model folders and pipelines of every format version load, and give the vectors that they gave then.

tests/data/v1 was written by the last version of the package that wrote format 1: three small random models,
which have all of its settings between them, and a pipeline with a listening and a private biLM. tests/data/v2
has the same as format 2 stores it, and a corpus. Nothing in them is to be written again: a later version adds
a folder of its own.
"""

from pathlib import Path

import numpy as np
import pytest
import spacy

import spacy_elmo
from spacy_elmo.inference.loading import from_bytes
from spacy_elmo.pretraining.data.corpus import Corpus

DATA = Path(__file__).parent / "data"
FORMATS = ["v1", "v2"]
WORDS = [
    "我 去 银行 取 钱 。",
    "自行 车 很 快 。",
    "他 打 球 ， 我 打 字 。",
    "北京 的 银行 在 哪里 ？",
    "张三 爱 北京 。",
]
CORPUS = (12, 72)  # sentences, units
SENTENCES = [text.split() for text in WORDS]


@pytest.fixture(scope="module")
def expected():
    with np.load(DATA / "v1" / "expected.npz") as arrays:
        return dict(arrays)


def compare(bilm, name, expected):
    sentences = [list("".join(words)) for words in SENTENCES] if name == "char" else SENTENCES
    for i, layers in enumerate(bilm.encode(sentences)):
        np.testing.assert_allclose(layers, expected[f"{name}.{i}"], atol=1e-5)


@pytest.mark.parametrize("version", FORMATS)
@pytest.mark.parametrize("name", ["char", "word", "bytes"])
def test_a_model_folder(version, name, expected, tmp_path):
    bilm = spacy_elmo.load(DATA / version / name)
    compare(bilm, name, expected)
    bilm.save(tmp_path / name)
    compare(spacy_elmo.load(tmp_path / name), name, expected)


@pytest.mark.parametrize("version", FORMATS)
def test_static_vectors(version, expected):
    found = spacy_elmo.load(DATA / version / "char").static_vectors_of(["银行", "北京", "打"])
    np.testing.assert_allclose(found, expected["char.static"], atol=1e-5)


@pytest.mark.parametrize("version", FORMATS)
def test_bytes(version, expected):
    compare(from_bytes((DATA / version / "char.bytes").read_bytes()), "char", expected)


@pytest.mark.parametrize("version", FORMATS)
def test_a_pipeline(version, expected, tmp_path):
    nlp = spacy.load(DATA / version / "pipeline")
    nlp.to_disk(tmp_path / "pipeline")
    for loaded in (nlp, spacy.load(tmp_path / "pipeline")):
        for i, text in enumerate(WORDS):
            doc = loaded(text.replace(" ", ""))
            np.testing.assert_allclose(doc._.elmo.layers, expected[f"layers.{i}"], atol=1e-5)
            np.testing.assert_allclose(doc._.elmo.static_vectors, expected[f"static.{i}"], atol=1e-5)
            for name in ("tagger", "alone"):
                found = loaded.get_pipe(name).model.predict([doc])[0]
                np.testing.assert_allclose(found, expected[f"{name}.{i}"], atol=1e-4)


def test_a_corpus():
    corpus = Corpus(DATA / "v2" / "corpus")
    corpus.verify()
    assert (len(corpus), int(corpus.lengths.sum())) == CORPUS
    assert len(corpus.counts()) == 11

"""Model folders and pipelines of format version 1 load, and give the vectors that they gave then.

tests/data/v1 was written by the last version of the package that wrote format 1: three small random models,
which have all of its settings between them, and a pipeline with a listening and a private biLM. Nothing in it
is to be written again.
"""

from pathlib import Path

import numpy as np
import pytest
import spacy

import spacy_elmo

V1 = Path(__file__).parent / "data" / "v1"
WORDS = [
    "我 去 银行 取 钱 。",
    "自行 车 很 快 。",
    "他 打 球 ， 我 打 字 。",
    "北京 的 银行 在 哪里 ？",
    "张三 爱 北京 。",
]
SENTENCES = [text.split() for text in WORDS]


@pytest.fixture(scope="module")
def expected():
    with np.load(V1 / "expected.npz") as arrays:
        return dict(arrays)


def compare(bilm, name, expected):
    sentences = [list("".join(words)) for words in SENTENCES] if name == "char" else SENTENCES
    for i, layers in enumerate(bilm.encode(sentences)):
        np.testing.assert_allclose(layers, expected[f"{name}.{i}"], atol=1e-5)


@pytest.mark.parametrize("name", ["char", "word", "bytes"])
def test_a_model_folder(name, expected, tmp_path):
    bilm = spacy_elmo.load(V1 / name)
    compare(bilm, name, expected)
    bilm.save(tmp_path / name)
    compare(spacy_elmo.load(tmp_path / name), name, expected)


def test_static_vectors(expected):
    found = spacy_elmo.load(V1 / "char").static_vectors_of(["银行", "北京", "打"])
    np.testing.assert_allclose(found, expected["char.static"], atol=1e-5)


def test_bytes(expected):
    from spacy_elmo.inference.loading import from_bytes

    compare(from_bytes((V1 / "char.bytes").read_bytes()), "char", expected)


def test_a_pipeline(expected, tmp_path):
    nlp = spacy.load(V1 / "pipeline")
    nlp.to_disk(tmp_path / "pipeline")
    for loaded in (nlp, spacy.load(tmp_path / "pipeline")):
        for i, text in enumerate(WORDS):
            doc = loaded(text.replace(" ", ""))
            np.testing.assert_allclose(doc._.elmo.layers, expected[f"layers.{i}"], atol=1e-5)
            np.testing.assert_allclose(doc._.elmo.static_vectors, expected[f"static.{i}"], atol=1e-5)
            for name in ("tagger", "alone"):
                found = loaded.get_pipe(name).model.predict([doc])[0]
                np.testing.assert_allclose(found, expected[f"{name}.{i}"], atol=1e-4)

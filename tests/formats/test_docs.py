"""The examples of docs/converting.md, on tiny models in the files that it names."""

import io
import re
import shlex
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

import spacy_elmo
from spacy_elmo.cli.register import app
from spacy_elmo.formats import download

from .helpers import (
    ARCHITECTURE,
    OPTIONS,
    WORDS,
    bilm_tf_tensors,
    write_bilm_tf,
    write_hdf5,
    write_many_langs,
)

pytest.importorskip("h5py", reason="reads and writes HDF5")
pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

PAGE = (Path(__file__).parents[2] / "docs" / "converting.md").read_text(encoding="utf8")


def zipped(folder, name):
    with zipfile.ZipFile(name, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)


class Answer(io.BytesIO):
    """An answer as a server gives it, without a server."""

    headers: ClassVar[dict[str, str]] = {}


def test_examples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = bilm_tf_tensors(OPTIONS)
    write_bilm_tf(tmp_path / "tmp", OPTIONS, tensors)
    zipped(tmp_path / "tmp", "195.zip")
    (tmp_path / "tmp" / "options.json").rename("options.json")
    (tmp_path / "tmp" / "model.hdf5").rename("weights.hdf5")
    vocab = ["<S>", "</S>", "<UNK>", *WORDS]
    described = {"lstm": OPTIONS["lstm"]}
    of_words = bilm_tf_tensors(described, n_words=len(vocab))
    write_bilm_tf(tmp_path / "words", described, of_words, vocab)
    (tmp_path / "words" / "model.hdf5").rename("words/weights.hdf5")
    write_hdf5("vectors.hdf5", {"embedding": of_words["embedding"]})
    write_many_langs(tmp_path / "many", ARCHITECTURE)
    for name in ("145.zip", "179.zip"):
        zipped(tmp_path / "many", name)
    (tmp_path / "sentences.txt").write_text("The cat sat .\n\nIt ran .\n", encoding="utf8")

    monkeypatch.setattr(download, "urlopen", lambda request, timeout: Answer(Path("145.zip").read_bytes()))

    commands = [
        line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
    ]
    assert len(commands) >= 8
    for command in commands:
        spacy_, elmo, *args = shlex.split(command)
        assert (spacy_, elmo) == ("spacy", "elmo")
        result = CliRunner().invoke(app, args)
        assert result.exit_code == 0, f"{command}: {result.output}"
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/converting.md", "exec"), {})  # each by itself
    for model in ("en_elmo", "word_elmo", "quick_elmo", "ru_elmo", "es_elmo", "zh_elmo"):
        layers = spacy_elmo.load(model).encode([["the", "cat"]])[0]
        assert layers.shape == (3, 2, 12)
        assert np.isfinite(layers).all()

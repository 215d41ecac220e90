"""`spacy elmo embed`: the vectors of a text on disk."""

import gzip
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from modeling.helpers import make_bilm

from spacy_elmo.formats import hdf5_vectors
from spacy_elmo.inference import loading
from spacy_elmo.inference.bilm import BiLM

from .helpers import plain, run
from .test_errors import refused

h5py = pytest.importorskip("h5py", reason="reads and writes HDF5")

LINES = ["我 爱 北京", "", "  天安门  ， 在 ", "我 爱 北京", "Linux", "的 的 的 的 的"]


@pytest.fixture
def model(tmp_path):
    make_bilm().save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("".join(f"{line}\n" for line in LINES), encoding="utf8")
    return tmp_path / "text.txt"


def read(path):
    with h5py.File(path) as file:
        return {name: dataset[()] for name, dataset in file.items()}


def embedded(model, text, *options):
    out = text.with_name("out.h5")
    result = run("embed", model, text, out, *options)
    assert result.exit_code == 0, result.output
    assert f"vectors of {len(LINES)} sentences" in plain(result.output)
    assert sorted(os.listdir(out.parent)) == ["model", "out.h5", text.name]
    return read(out)


def test_all_layers(model, text):
    found = embedded(model, text)
    bilm = loading.load(model)
    assert found.keys() == {*map(str, range(len(LINES))), "sentence_to_index"}
    for i, line in enumerate(LINES):
        words = line.split()
        assert found[str(i)].dtype == np.float32
        assert found[str(i)].shape == (3, len(words), 12)
        np.testing.assert_allclose(found[str(i)], bilm.encode([words])[0], atol=1e-6)


def test_the_sentences_are_kept_as_allennlp_keeps_them(model, text):
    found = embedded(model, text)["sentence_to_index"]
    assert found.shape == (1,)
    assert json.loads(found[0]) == {line.strip(): str(i) for i, line in enumerate(LINES)}
    assert "sentence_to_index" not in embedded(model, text, "--no-sentences")


@pytest.mark.parametrize("layers", ["average", "top", "0", "1", "2"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_one_layer_of_each_type(layers, dtype, model, text):
    found = embedded(model, text, "--layers", layers, "--dtype", dtype)
    whole = loading.load(model).encode([LINES[0].split()])[0]
    wanted = whole.mean(0) if layers == "average" else whole[{"top": -1}.get(layers) or int(layers)]
    assert found["0"].dtype == dtype
    np.testing.assert_allclose(found["0"], wanted, atol=1e-6 if dtype == "float32" else 5e-3)


def test_models_of_characters_read_the_characters(tmp_path, text):
    make_bilm(units="char").save(tmp_path / "model")
    found = embedded(tmp_path / "model", text)
    wanted = loading.load(tmp_path / "model").encode([list("我爱北京")])[0]
    np.testing.assert_allclose(found["0"], wanted, atol=1e-6)


def test_an_interrupted_run_goes_on(model, text, monkeypatch):
    out, whole = text.with_name("out.h5"), embedded(model, text)
    out.unlink()
    monkeypatch.setattr(hdf5_vectors, "BLOCK", 7)  # two lines a block
    calls, encode = [], BiLM.encode

    def interrupted(self, sentences, **kwargs):
        calls.append(len(sentences))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, sentences, **kwargs)

    monkeypatch.setattr(BiLM, "encode", interrupted)
    result = run_and_be_interrupted(model, text, out)
    assert result == "interrupted"
    assert not out.exists()
    assert (text.with_name("out.h5.blocks")).is_dir()
    again = embedded(model, text)
    assert again.keys() == whole.keys()
    for name, found in again.items():
        if name != "sentence_to_index":
            np.testing.assert_allclose(found, whole[name], atol=1e-6)
    assert sum(calls) - calls[2] == len(LINES)  # nothing twice


@pytest.mark.parametrize("removed", [0, 1, 3])
def test_a_run_that_ends_while_it_removes_its_blocks_goes_on(model, text, monkeypatch, removed):
    out, whole = text.with_name("out.h5"), embedded(model, text)
    out.unlink()
    monkeypatch.setattr(hdf5_vectors, "BLOCK", 7)
    left, unlink = [removed], Path.unlink

    def interrupted(self, **kwargs):
        if re.fullmatch(r"\d+-\d+\.h5|run\.json", self.name):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        unlink(self, **kwargs)

    monkeypatch.setattr(Path, "unlink", interrupted)
    assert run_and_be_interrupted(model, text, out) == "interrupted"
    monkeypatch.setattr(Path, "unlink", unlink)
    again = embedded(model, text)
    assert again.keys() == whole.keys()
    for name in whole.keys() - {"sentence_to_index"}:
        np.testing.assert_allclose(again[name], whole[name], atol=1e-6)
    assert not text.with_name("out.h5.blocks").exists()


def run_and_be_interrupted(model, text, out):
    try:
        result = run("embed", model, text, out)
    except KeyboardInterrupt:
        return "interrupted"
    return "interrupted" if result.exit_code == 130 else result.output


def test_an_unfinished_run_of_another_kind_is_not_gone_on_with(model, text, monkeypatch, tmp_path):
    monkeypatch.setattr(hdf5_vectors, "BLOCK", 7)

    def stop(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(hdf5_vectors, "_join", stop)
    out = tmp_path / "out.h5"
    assert "No space left" in plain(run("embed", model, text, out).output)
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["model", "out.h5.blocks", "text.txt"]
    refused(
        tmp_path,
        "embed",
        model,
        text,
        out,
        "--dtype",
        "float16",
        message="holds an unfinished run with another",
    )
    make_bilm(seed=1).save(tmp_path / "other")
    refused(tmp_path, "embed", tmp_path / "other", text, out, message="holds an unfinished run with another")
    (tmp_path / "more.txt").write_text("的\n", encoding="utf8")
    refused(tmp_path, "embed", model, tmp_path / "more.txt", out, message="name another output")
    assert run("embed", model, text, out).exit_code == 0
    assert len(read(out)) == len(LINES) + 1


@pytest.mark.parametrize("limit", [1000, 12000], ids=["block", "stacked_bidirectional"])
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(limit, model, text, tmp_path, monkeypatch):
    resource = pytest.importorskip("resource", reason="the size of a file is limited by the system")
    monkeypatch.setattr(hdf5_vectors, "BLOCK", 7)
    text.write_text("我 爱 北京\n" * 30, encoding="utf8")
    out = tmp_path / "out.h5"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        result = run("embed", model, text, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.exit_code == 1
    assert "File too large. Run the same command to continue." in plain(result.output)
    assert sorted(os.listdir(tmp_path)) == ["model", "out.h5.blocks", "text.txt"]
    blocks = [name for name in os.listdir(tmp_path / "out.h5.blocks") if name != "run.json"]
    assert len(blocks) == (0 if limit == 1000 else 15)
    assert run("embed", model, text, out).exit_code == 0
    assert len(read(out)) == 31


def test_json_lines_and_packed_text(model, text, tmp_path):
    wanted = embedded(model, text)
    text.unlink()
    for name, data in (
        ("text.jsonl", "".join(json.dumps({"text": line}) + "\n" for line in LINES).encode()),
        ("text.txt.gz", gzip.compress("".join(f"{line}\r\n" for line in LINES).encode("utf-8-sig"))),
    ):
        (tmp_path / name).write_bytes(data)
        found = embedded(model, tmp_path / name)
        (tmp_path / name).unlink()
        for key in map(str, range(len(LINES))):
            np.testing.assert_array_equal(found[key], wanted[key])


def test_the_embedded_model(text):
    result = run("embed", "zh_elmo_sm", text, text.with_name("out.h5"), "--layers", "top")
    assert result.exit_code == 0, result.output
    assert read(text.with_name("out.h5"))["0"].shape == (4, 512)


def test_a_file_of_another_program_stays(model, text):
    with h5py.File(text.with_name("out.h5"), "w") as file:
        file.create_dataset("0", data=np.zeros(3))
    refused(text.parent, "embed", model, text, text.with_name("out.h5"), message="it is another file")


def test_two_runs_at_once_end_with_one_sentence(model, text, monkeypatch):
    out, said, encode = text.with_name("out.h5"), [], BiLM.encode

    def beside(self, sentences, **kwargs):
        if not said:
            said.append(plain(run("embed", model, text, out).output))
        return encode(self, sentences, **kwargs)

    monkeypatch.setattr(BiLM, "encode", beside)
    embedded(model, text)
    assert "another process is writing there" in said[0]


def test_an_older_output_is_replaced_at_the_end(model, text):
    embedded(model, text)
    assert len(embedded(model, text, "--no-sentences")) == len(LINES)


def test_what_is_refused(model, text, tmp_path, monkeypatch):
    out = tmp_path / "new" / "out.h5"
    (tmp_path / "gb.txt").write_bytes("好\n".encode() + "你好".encode("gb18030"))
    (tmp_path / "empty.txt").write_bytes(b"")
    for args, message in (
        ([tmp_path / "nowhere", text, out], "The model folder"),
        ([model, tmp_path / "nowhere", out], "nowhere cannot be read: No such file"),
        ([model, tmp_path, out], "name an output elsewhere"),
        ([model, text, model / "out.h5"], "name an output elsewhere"),
        ([model, text, text], "is also an input: name another output"),
        ([model, text, tmp_path / "gb.txt"], "it is another file; name a new one"),
        ([model, tmp_path / "gb.txt", out], "gb.txt, line 2 is not UTF-8"),
        ([model, tmp_path / "empty.txt", out], "is empty"),
        ([model, text, model], "it is a folder; name a file"),
        ([model, text, tmp_path / "gb.txt" / "below"], "Cannot write"),
        (
            [model, text, out, "--layers", "3"],
            '--layers 3 is not known: use "all", "average", "top" or one of 0, 1, 2',
        ),
        ([model, text, out, "--dtype", "int8"], "Vectors of int8 cannot be written"),
    ):
        refused(tmp_path, "embed", *args, message=message)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    refused(tmp_path, "embed", model, text, out, message="HDF5 files need h5py: pip install")

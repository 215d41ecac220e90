"""Model folders and bytes that cannot be read: one sentence each, and never another error."""

import json
import re
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from spacy_elmo.inference import loading
from spacy_elmo.inference.loading import ModelFolderError
from spacy_elmo.modeling import serialization as folder_format

from .helpers import ENCODERS, make_bilm

WHOLE = loading.to_bytes(make_bilm(projection_dim=2, hidden_size=2, n_layers=1))


def rewrite(folder: Path, name: str, data: bytes) -> None:
    """Change a file of a model folder, and its checksum with it."""
    (folder / name).write_bytes(data)
    config = json.loads((folder / "config.json").read_bytes())
    config["files"][name] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    (folder / "config.json").write_text(json.dumps(config))


def edit(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def refused(folder: Path, message: str, load=loading.load) -> None:
    with pytest.raises(ModelFolderError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_missing_places(tmp_path, folder):
    refused(tmp_path / "nowhere", "The model folder")
    refused(folder / "vocab.txt", "is a file")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "lacks config.json")
    for load in (loading.read_config, loading.load):
        refused(tmp_path / "nowhere", "The model folder", load)


@pytest.mark.parametrize("name", ["weights.safetensors", "vocab.txt"])
def test_missing_truncated_and_changed_files(folder, name):
    data = (folder / name).read_bytes()
    for damaged, message in (
        (data[: len(data) // 2], "bytes instead of"),
        (b"", "bytes instead of"),
        (data + b"x", "bytes instead of"),
        (data[:-3] + bytes([data[-3] ^ 1]) + data[-2:], "checksum"),
        (bytes([data[0] ^ 0x80]) + data[1:], "checksum"),
    ):
        (folder / name).write_bytes(damaged)
        refused(folder, f"{name} is damaged .*{message}")
    (folder / name).unlink()
    refused(folder, f"{name} is missing")
    (folder / name).mkdir()
    refused(folder, f"{name} is missing")


def test_a_newer_format(folder, bilm, monkeypatch):
    edit(folder, format_version=3, files="something else")
    for load in (loading.load, loading.read_config):
        refused(folder, r"format version 3, but this spacy-elmo reads at most 2: update spacy-elmo\.", load)
    monkeypatch.setattr(folder_format, "FORMAT_VERSION", 9)
    newer = loading.to_bytes(bilm)
    monkeypatch.undo()
    with pytest.raises(ModelFolderError, match="format version 9"):
        loading.from_bytes(newer)


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": None},
        {"format_version": "1"},
        {"format_version": [1]},
        {"files": None},
        {"files": []},
        {"files": {"vocab.txt": 5}},
        {"files": {"vocab.txt": {"bytes": 5}}},
        {"files": {"vocab.txt": {"bytes": "5", "sha256": ""}}},
        {"bilm": None},
        {"bilm": [1]},
    ],
    ids=str,
)
def test_a_config_that_lacks_something(folder, changes):
    edit(folder, **changes)
    refused(folder, "config.json is damaged")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[1" * 40])
def test_a_config_that_is_none(folder, data):
    (folder / "config.json").write_bytes(data)
    refused(folder, "config.json is damaged")
    refused(folder, "config.json is damaged", loading.read_config)


def test_half_of_a_surrogate_pair_in_a_config(folder):
    bilm = json.loads((folder / "config.json").read_bytes())["bilm"]
    edit(folder, bilm={**bilm, "meta": {"source": "\ud83d\ude00"}})
    assert loading.load(folder).config.meta["source"] == "\U0001f600"  # JSON's way to write a whole pair
    edit(folder, bilm={**bilm, "meta": {"source": "\ud83d"}})
    refused(folder, "config.json is damaged")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dropout", 0.1, '"dropout" is not a setting'),
        ("projection_dim", "8", "projection_dim = '8'"),
        ("units", "byte", 'units = "byte"'),
        ("char_filters", 3, "char_filters"),
    ],
)
def test_settings_that_no_model_has(folder, key, value, message):
    config = json.loads((folder / "config.json").read_bytes())["bilm"]
    edit(folder, bilm={**config, key: value})
    refused(folder, message)
    refused(folder, message, loading.read_config)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "..", ".", "", "a/../vocab.txt"])
def test_a_model_reads_no_file_outside_its_folder(folder, name):
    (folder.parent / "secret").write_bytes(b"secret")
    files = json.loads((folder / "config.json").read_bytes())["files"]
    edit(folder, files={**files, name: {"bytes": 6, "sha256": sha256(b"secret").hexdigest()}})
    refused(folder, "missing")


def test_a_model_that_lists_too_little(folder):
    files = json.loads((folder / "config.json").read_bytes())["files"]
    for name in files:
        edit(folder, files={key: value for key, value in files.items() if key != name})
        refused(folder, f"does not list {re.escape(name)}")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers(bilm, tmp_path, number):
    damaged = loading.from_bytes(loading.to_bytes(bilm))
    name = "forward_lm.layers.0.weight_ih_l0"
    with torch.no_grad():
        damaged.state_dict()[name][1, 1] = number
    damaged.save(tmp_path / "m")
    for read in (lambda: loading.load(tmp_path / "m"), lambda: loading.from_bytes(loading.to_bytes(damaged))):
        with pytest.raises(ModelFolderError, match=f"hold NaN or infinite values in {name}: copy the model"):
            read()


SIZES = [
    "projection_dim",
    "hidden_size",
    "n_layers",
    "n_highway",
    "char_embedding_dim",
    "static_dim",
    "max_sentence_length",
]
SIZES += [
    "ngrams",
    "n_static_vectors",
    "embedding_dim",
    "max_unit_length",
    "max_characters_per_token",
    "ngram_dim",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(SIZES), st.integers(0, 2**63) | st.sampled_from([10**8, 2**31, 2**62]))
)
def test_sizes_of_any_kind_are_answered_soon(folder, sizes):
    path = folder / "config.json"
    before = path.read_bytes()
    stored = json.loads(before)
    try:
        path.write_text(json.dumps({**stored, "bilm": {**stored["bilm"], **sizes}}))
        with suppress(ModelFolderError):
            loading.load(folder)
    finally:
        path.write_bytes(before)


def test_weights_of_another_shape(folder):
    tensors = load_tensors((folder / "weights.safetensors").read_bytes())
    bias, weight = "softmax_bias", "token_encoder.embedding.weight"
    for changed, message in (
        ({**tensors, weight: tensors[weight][:, :3].contiguous()}, r"hold \(12, 3\) for .*embedding.weight"),
        ({**tensors, bias: tensors[weight].clone(), weight: tensors[bias]}, "hold"),
        ({**tensors, "extra": torch.zeros(2)}, "for extra, expected nothing"),
        ({k: t for k, t in tensors.items() if k != bias}, "hold nothing for softmax_bias"),
    ):
        rewrite(folder, "weights.safetensors", save_tensors(changed))
        refused(folder, message)
    rewrite(folder, "weights.safetensors", b"no tensors at all")
    refused(folder, "weights of .* are damaged")


def test_a_vocabulary_that_fits_no_model(folder):
    for data, message in (
        ("我\n爱\n".encode(), r"hold \(12"),
        ("我\n我\n".encode(), "lists a unit twice"),
        ("我\n".encode("gb18030"), "vocabulary"),
    ):
        rewrite(folder, "vocab.txt", data)
        refused(folder, message)


def test_a_char_cnn_without_characters(tmp_path):
    make_bilm(**ENCODERS["char_cnn"]).save(tmp_path / "model")
    files = json.loads((tmp_path / "model" / "config.json").read_bytes())["files"]
    edit(tmp_path / "model", files={k: v for k, v in files.items() if k != "characters.txt"})
    refused(tmp_path / "model", "characters")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_an_error_or_a_model(data):
    header = int.from_bytes(WHOLE[:8], "little") + 8
    place = data.draw(st.integers(0, header - 1))
    changed = WHOLE[:place] + bytes([data.draw(st.integers(0, 255))]) + WHOLE[place + 1 :]
    with suppress(ModelFolderError):  # and no other error
        assert loading.from_bytes(changed).n_layers == 2


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.integers(0, len(WHOLE) - 1).map(lambda n: WHOLE[:n])))
def test_any_bytes_and_any_part_of_a_model_are_refused(data):
    with pytest.raises(ModelFolderError):
        loading.from_bytes(data)

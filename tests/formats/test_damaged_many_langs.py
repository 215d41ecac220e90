"""Damaged or malicious files of ELMoForManyLangs: one sentence that names what is wrong, always."""

import io
import json
import pickle
import re
import zipfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.formats import FormatError, load_elmoformanylangs, tensor_mapping

from .errors import refused
from .helpers import (
    ARCHITECTURE,
    WORDS,
    architecture,
    write_many_langs,
)


@pytest.fixture
def many_langs(tmp_path):
    folder = tmp_path / "model"
    write_many_langs(folder, ARCHITECTURE)
    return folder


def rewrite(path, change):
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


def test_tensors_of_many_langs(many_langs):
    upper, lower = many_langs / "encoder.pkl", many_langs / "token_embedder.pkl"
    name = "forward_layer_0.state_projection.weight"
    for path, change, message in (
        (upper, lambda s: s.pop(name), rf"encoder.pkl lacks {re.escape(name)} of shape \(6, 10\)"),
        (
            upper,
            lambda s: s.update(more=torch.zeros(2)),
            r"holds more of shape \(2,\), which is not expected",
        ),
        (upper, lambda s: s.update({name: s[name].t()}), r"of shape \(10, 6\), expected \(6, 10\)"),
        (upper, lambda s: s.update({name: s[name].long()}), "as int64, expected float32"),
        (upper, lambda s: s[name].fill_(float("nan")), "holds NaN or infinite"),
        (lower, lambda s: s.pop("projection.bias"), "token_embedder.pkl lacks projection.bias"),
        (lower, lambda s: s.update(x=5), "not a state dict of tensors"),
        (lower, lambda s: s.update(x=torch.zeros(1).expand(10**12)), "not a state dict of tensors"),
    ):
        whole = path.read_bytes()
        rewrite(path, change)
        refused(message, load_elmoformanylangs, many_langs)
        path.write_bytes(whole)
    lower.write_bytes(upper.read_bytes())  # swapped
    refused("token_embedder.pkl lacks", load_elmoformanylangs, many_langs)


@pytest.mark.parametrize("version", ["2.4.1", "2.5.1+cu124", "2.6.0", "2.9.1"])
def test_a_torch_with_a_known_hole_is_given_nothing(many_langs, monkeypatch, version):
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was read"))
    with pytest.raises(FormatError, match=r"torch 2\.\d.*CVE-2025-32434.*CVE-2026-24747.*torch to 2.10"):
        load_elmoformanylangs(many_langs)


def test_nothing_but_tensors_is_unpickled(many_langs, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "evil"), "w")

    for data in (pickle.dumps(Evil()), pickle.dumps({"projection.bias": Evil()})):
        (many_langs / "encoder.pkl").write_bytes(data)
        refused(
            "holds pickled objects other than tensors, which could run any code: if",
            load_elmoformanylangs,
            many_langs,
        )
    torch.save({"x": Evil()}, many_langs / "encoder.pkl")
    refused("holds pickled objects other than tensors", load_elmoformanylangs, many_langs)
    torch.save(torch.nn.Linear(2, 2), many_langs / "encoder.pkl")
    refused("holds pickled objects other than tensors", load_elmoformanylangs, many_langs)
    torch.save([torch.zeros(2)], many_langs / "encoder.pkl")
    refused("not a state dict of tensors", load_elmoformanylangs, many_langs)
    assert not (tmp_path / "evil").exists()


@cache
def encoder_file(folder: Path, old: bool) -> bytes:
    """The weights as torch saves them. Once: the old form has numbers of objects in it, of any length."""
    _, upper, *_ = write_many_langs(folder, ARCHITECTURE)
    path = folder / "encoder.pkl"
    torch.save(upper, path, _use_new_zipfile_serialization=not old)
    return path.read_bytes()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), old=st.booleans())
def test_damaged_files_of_torch(tmp_path_factory, data, old):
    folder = tmp_path_factory.getbasetemp() / "many_langs"
    path = folder / "encoder.pkl"
    whole = encoder_file(folder, old)
    if data.draw(st.booleans()):
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(FormatError):
            load_elmoformanylangs(folder)
    else:
        place = data.draw(st.integers(0, len(whole) - 1))
        path.write_bytes(whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :])
        with suppress(FormatError):  # and no other error
            assert load_elmoformanylangs(folder).n_layers == 3


def test_tensors_of_zeros_that_are_packed_to_fill_the_memory(many_langs, monkeypatch):
    monkeypatch.setattr(tensor_mapping, "MIN_CHECKED_BYTES", 2**20)
    path = many_langs / "encoder.pkl"
    torch.save({"x": torch.zeros(2**19)}, path)
    whole = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    refused(
        r"encoder.pkl unpacks from [\d,]* to 2,\d{3},\d{3} bytes or more", load_elmoformanylangs, many_langs
    )


def test_lexicons_of_many_langs(many_langs):
    words = (many_langs / "word.dic").read_text(encoding="utf8")
    for text, message in (
        (words.replace("<oov>", "oov"), r"word.dic lacks <oov>"),
        (words + "a\tb\n", 'word.dic, line 11: expected "form<TAB>index"'),
        (words + "a\tb\t3\n", "line 11"),
        (words + f"a\t{'9' * 5000}\n", "line 11"),  # more digits than Python converts
        (words + "\n", "line 11"),
        (words + "new\t10\n", r"word_emb_layer.embedding.weight of shape \(10, 5\), expected \(11, 5\)"),
        ("", "lacks <pad>"),
    ):
        (many_langs / "word.dic").write_text(text, encoding="utf8")
        refused(message, load_elmoformanylangs, many_langs)
    (many_langs / "word.dic").write_bytes("词\t1\n".encode("gb18030"))
    refused("word.dic is not UTF-8", load_elmoformanylangs, many_langs)
    (many_langs / "word.dic").unlink()
    refused("has no word.dic", load_elmoformanylangs, many_langs)
    assert len(WORDS) == 6


def test_architectures_of_many_langs(many_langs):
    for described, message in (
        ([], "encoder.name is missing in"),
        (architecture({"name": "gru"}), 'encoder "gru"'),
        (architecture(name="transformer"), 'over "transformer"'),
        (architecture(name="lstm"), "is not supported: ELMoForManyLangs cannot run it"),
        (architecture({"dim": None}), "Sizes are missing"),
        (architecture(word_dim=0, char_dim=0), "Sizes are missing"),
        (architecture({"cell_clip": "3"}), "A biLM cannot be built from .*: cell_clip"),
        (architecture(activation="gelu"), "A biLM cannot be built from .*: activation"),
        (
            architecture(max_characters_per_token=2),
            "max_characters_per_token in .* must be an integer above 2",
        ),
        (architecture({"n_layers": 3}), "encoder.pkl lacks forward_layer_2"),
        (architecture({"n_layers": 100}), "encoder.pkl holds 16 tensors, too few for n_layers"),
        (architecture({"n_layers": 10**9}), "A biLM cannot be built from .*: n_layers = 1000000000 must be"),
        (architecture(n_highway=100), "token_embedder.pkl holds 14 tensors, too few for n_highway"),
        (architecture(n_highway=10**9), "A biLM cannot be built from .*: n_highway = 1000000000 must be"),
        (architecture({"name": "lstm"}), "encoder.pkl lacks encoder.weight_ih_l0"),
        (architecture(char_dim=0), "holds char_emb_layer.embedding.weight|expected"),
        ({"encoder": ARCHITECTURE["encoder"]}, "token_embedder is missing in"),
    ):
        (many_langs / "sample.json").write_text(json.dumps(described))
        refused(message, load_elmoformanylangs, many_langs)
    for config, message in (
        ("{}", "config_path is missing in"),
        ('{"config_path": 3}', "is not a path"),
        ("", "not a JSON"),
    ):
        (many_langs / "config.json").write_text(config)
        refused(message, load_elmoformanylangs, many_langs)


@pytest.mark.parametrize("absolute", [True, False])
def test_a_configuration_outside_of_the_folder_is_not_read(many_langs, tmp_path, absolute):
    outside = tmp_path / "secret.json"
    (many_langs / "sample.json").replace(outside)
    path = str(outside) if absolute else "../secret.json"
    (many_langs / "config.json").write_text(json.dumps({"config_path": path}))
    refused("lacks secret.json, which its config.json names", load_elmoformanylangs, many_langs)

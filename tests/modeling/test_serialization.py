"""Model folders: what is written comes back, what is damaged is named, what was there is not lost."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors

import spacy_elmo
from spacy_elmo import atomic_io
from spacy_elmo.inference import loading
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.vocab import Vocab

from .helpers import ENCODERS, make_bilm

SENTENCE = ["我", "爱", "北京", "未知"]
FILES = {"config.json", "vocab.txt", "weights.safetensors"}


def same(one: BiLM, other: BiLM) -> bool:
    return (one.encode([SENTENCE])[0] == other.encode([SENTENCE])[0]).all()


@pytest.mark.parametrize("name", ENCODERS)
def test_what_is_saved_comes_back(name, tmp_path):
    bilm = make_bilm(**ENCODERS[name])
    bilm.save(tmp_path / "model")
    for back in (spacy_elmo.load(tmp_path / "model"), loading.from_bytes(loading.to_bytes(bilm))):
        assert back.config == bilm.config
        assert back.vocab.units == bilm.vocab.units
        assert back.vocab.characters == bilm.vocab.characters
        assert back.vocab.ngrams == bilm.vocab.ngrams
        assert same(back, bilm)
        assert not back.training
        trained = {n for n, p in bilm.named_parameters() if p.requires_grad}
        assert {n for n, p in back.named_parameters() if p.requires_grad} == trained
    lists = {"characters.txt": bilm.vocab.characters, "ngrams.txt": bilm.vocab.ngrams}
    expected = FILES | {name for name, lines in lists.items() if lines}
    assert {p.name for p in (tmp_path / "model").iterdir()} == expected
    assert loading.read_config(tmp_path / "model") == bilm.config
    assert os.listdir(tmp_path) == ["model"]


def test_half_precision(bilm, tmp_path):
    bilm.save(tmp_path / "half", dtype=torch.float16)
    stored = load_tensors((tmp_path / "half" / "weights.safetensors").read_bytes())
    assert {t.dtype for t in stored.values()} == {torch.float16}
    back = loading.load(str(tmp_path / "half"))
    assert {p.dtype for p in back.parameters()} == {torch.float32}
    np.testing.assert_allclose(back.encode([SENTENCE])[0], bilm.encode([SENTENCE])[0], atol=0.01)
    assert {p.dtype for p in bilm.parameters()} == {torch.float32}
    back.save(tmp_path / "again", dtype=torch.float16)
    assert same(loading.load(tmp_path / "again"), back)


def bits(bilm: BiLM) -> dict[str, list[int]]:
    return {name: t.view(torch.int32).flatten().tolist() for name, t in bilm.state_dict().items()}


@pytest.mark.parametrize("name", ENCODERS)
def test_the_smallest_types_hold_the_same_bits(name, tmp_path):
    bilm = make_bilm(**ENCODERS[name])
    with torch.no_grad():
        for parameter in bilm.parameters():
            parameter.flatten()[0] = -0.0
    bilm.save(tmp_path / "trained", dtype="smallest")
    assert bits(loading.load(tmp_path / "trained")) == bits(bilm)
    bilm.save(tmp_path / "half", dtype=torch.float16)
    half = loading.load(tmp_path / "half")
    half.save(tmp_path / "smallest", dtype="smallest")
    assert bits(loading.load(tmp_path / "smallest")) == bits(half)
    assert bits(loading.from_bytes(loading.to_bytes(half))) == bits(half)
    weights = [(tmp_path / each / "weights.safetensors").read_bytes() for each in ("half", "smallest")]
    assert weights[0] == weights[1]


def test_the_same_model_gives_the_same_bytes(bilm, tmp_path):
    for name in ("one", "other"):
        bilm.save(tmp_path / name)
    for file in FILES:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
    assert loading.to_bytes(bilm) == loading.to_bytes(bilm)


def test_nothing_is_pickled(folder, bilm):
    for data in [*(p.read_bytes() for p in folder.iterdir()), loading.to_bytes(bilm)]:
        assert not data.startswith((*(bytes([0x80, version]) for version in range(2, 6)), b"PK"))
        assert b"torch" not in data


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1),
        min_size=1,
        unique=True,
    )
)
def test_units_of_any_characters_survive(units):
    config = make_bilm(fold_fullwidth=False).config
    bilm = BiLM(config, Vocab(units, fold_fullwidth=False))
    assert loading.from_bytes(loading.to_bytes(bilm)).vocab.units == units


def test_units_that_look_like_line_breaks_survive(tmp_path):
    units = ["\u2028", "\r", "\x85", "\x0b", "a\tb", " ", "\x00", "\r\r", "的"]
    BiLM(make_bilm().config, Vocab(units)).save(tmp_path / "model")
    assert loading.load(tmp_path / "model").vocab.units == units


# what must not be lost


def test_other_peoples_folders_are_left_alone(bilm, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "file").write_bytes(b"text")
    for path, message in (
        (tmp_path / "photos", "it holds other files"),
        (tmp_path / "file", "it is a file"),
        (tmp_path / "file" / "model", "file is a file"),
        (tmp_path / "file" / "deep" / "model", "file is a file"),
    ):
        with pytest.raises(atomic_io.OutputError, match=f"Cannot write a model .*{message}"):
            bilm.save(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "photos"]
    assert os.listdir(tmp_path / "photos") == ["cat.jpg"]
    assert (tmp_path / "file").read_bytes() == b"text"


def test_an_older_model_is_replaced(folder, bilm):
    other = make_bilm(seed=1)
    other.save(folder)
    assert same(loading.load(folder), other)
    assert not same(bilm, other)
    assert os.listdir(folder.parent) == ["model"]


def test_an_empty_folder_and_a_new_one_deep_down_are_fine(bilm, tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        bilm.save(path)
        assert same(loading.load(path), bilm)


def test_a_link_to_a_folder_stays_a_link(folder, bilm, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    other = make_bilm(seed=1)
    other.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert same(loading.load(folder), other)
    assert sorted(os.listdir(tmp_path)) == ["link", "model"]


def test_a_save_that_fails_leaves_the_old_model(folder, bilm, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(atomic_io.OutputError, match="No space left"):
        make_bilm(seed=1).save(folder)
    monkeypatch.undo()
    assert same(loading.load(folder), bilm)
    assert os.listdir(folder.parent) == ["model"]


def test_a_model_card_is_kept(folder):
    (folder / "README.md").write_text("a card")
    other = make_bilm(seed=1)
    other.save(folder)
    assert (folder / "README.md").read_text() == "a card"
    assert same(loading.load(folder), other)


def test_the_embedded_model_goes_by_its_name(bilm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        loading.resolve_model_path(loading.BUNDLED_MODEL)
        == loading.resolve_model_path(None)
        == loading.bundled_model_path()
    )
    assert loading.read_config(loading.BUNDLED_MODEL) == loading.read_config()
    bilm.save(tmp_path / loading.BUNDLED_MODEL)
    assert loading.read_config(loading.BUNDLED_MODEL) == bilm.config


def test_importing_the_package_is_quick():
    code = "import sys, spacy_elmo; print(sorted({'torch', 'spacy', 'thinc'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_there():
    assert {"BiLM", "load", "similarity", "__version__"} <= set(spacy_elmo.__all__)
    assert spacy_elmo.load is loading.load
    assert spacy_elmo.BiLM is BiLM
    with pytest.raises(AttributeError, match="nonsense"):
        _ = spacy_elmo.nonsense


@pytest.mark.parametrize("name", ENCODERS)
def test_reading_a_model_does_not_bring_in_torchs_compiler(name, tmp_path):
    make_bilm(**ENCODERS[name]).save(tmp_path / "model")
    code = (
        "import sys\n"
        "from spacy_elmo.inference import loading\n"
        "before = set(sys.modules)\n"
        "loading.load(sys.argv[1])\n"
        "print(*(m for m in set(sys.modules) - before if m.startswith(('torch._dynamo', 'sympy'))))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


MEMORY = """
import re, sys
from pathlib import Path
import torch
from spacy_elmo.inference import loading

def own():
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

loading.load(sys.argv[1])  # what a first call imports
before = own()
bilm = loading.load(sys.argv[2])
print(own() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells whose memory is whose")
def test_weights_are_mapped_and_not_read(tmp_path):
    make_bilm().save(tmp_path / "small")
    bilm = make_bilm(projection_dim=256, hidden_size=1024)
    bilm.save(tmp_path / "large")
    size = (tmp_path / "large" / "weights.safetensors").stat().st_size
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path / "small", tmp_path / "large"], capture_output=True, text=True
    )
    assert size > 2**24
    assert int(done.stdout) < size / 4, done.stderr


def test_a_model_can_be_replaced_while_it_is_in_use(bilm, tmp_path):
    bilm.save(tmp_path / "m")
    loaded = loading.load(tmp_path / "m")
    make_bilm(seed=9).save(tmp_path / "m")
    assert same(loaded, bilm)
    assert same(loading.load(tmp_path / "m"), make_bilm(seed=9))


def test_training_a_loaded_model_changes_no_file(folder, bilm):
    loaded = loading.load(folder)
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.add_(1)
    assert not same(loaded, bilm)
    assert same(loading.load(folder), bilm)

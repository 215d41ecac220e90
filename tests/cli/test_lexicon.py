"""`spacy elmo lexicon`: a file that lexicon features can use."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from spacy_elmo.tasks.lexical.architectures import build_lexicon_features_v1
from spacy_elmo.tasks.lexical.lexicon_features import load_lexicon

from .helpers import plain, run
from .test_errors import refused

TEXT = "北京大学在北京。\n上海银行在上海。\n他去北京大学。\n" * 10


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf8")
    return path


def test_strings_vectors_and_counts(text, tmp_path):
    path = tmp_path / "lexicon.safetensors"
    assert run("lexicon", text, path, "--strings", 60, "--width", 5).exit_code == 0
    lexicon = load_lexicon(path)
    counts = dict(zip(lexicon.strings, lexicon.weights, strict=True))
    assert counts["北京"] == TEXT.count("北京")
    assert counts["在"] == TEXT.count("在")
    assert {"北京大学", "上海"} <= set(counts)
    np.testing.assert_allclose(np.square(lexicon.vectors.numpy()).mean(1), 1.0, atol=0.01)
    model = build_lexicon_features_v1(path)
    model.initialize()
    assert model.get_dim("nO") == 20
    assert not list(tmp_path.glob(".lexicon*"))


KILLED = """
import os, signal, sys
from spacy_elmo.pretraining import lexicon
lexicon.count_lexicon = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from spacy_elmo.cli.commands import app
app(["lexicon", *sys.argv[1:]])
"""


def test_what_a_killed_process_left_is_removed(text, tmp_path):
    path = tmp_path / "lexicon.safetensors"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(text), str(path)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert run("lexicon", text, path, "--strings", 30, "--width", 3).exit_code == 0
    assert sorted(os.listdir(tmp_path)) == [path.name, text.name]


def test_a_lexicon_is_replaced_and_another_file_is_not(text, tmp_path):
    path = tmp_path / "lexicon.safetensors"
    run("lexicon", text, path, "--strings", 30, "--width", 3)
    run("lexicon", text, path, "--strings", 40, "--width", 3)
    assert len(load_lexicon(path).strings) > 30
    other = tmp_path / "other"
    other.write_text("mine")
    result = run("lexicon", text, other)
    assert result.exit_code == 1
    assert "another file" in plain(result.output)
    assert other.read_text() == "mine"


def test_a_lexicon_in_a_new_folder_and_inside_a_file(text, tmp_path):
    path = tmp_path / "new" / "folder" / "lexicon"
    assert run("lexicon", text, path, "--strings", 30, "--width", 3).exit_code == 0
    assert path.is_file()
    (tmp_path / "mine").write_text("mine")
    for n in (0, -5):
        message = f"n_process = {n} is not valid: use 1 or more, or -1."
        refused(tmp_path, "lexicon", text, tmp_path / "mine.lexicon", "--n-process", n, message=message)
    refused(tmp_path, "lexicon", text, tmp_path / "mine" / "lexicon", message="mine is a file, not a folder.")

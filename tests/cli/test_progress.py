"""Bars: every command that can take long shows one where a person watches, and none elsewhere."""

import re

import pytest

from spacy_elmo import progress
from spacy_elmo.cli import app, info
from spacy_elmo.progress import progress_bar, show_progress, track

from .helpers import CONFIG, run, tiny


@pytest.fixture
def watched(monkeypatch):
    monkeypatch.setattr(app, "is_interactive", lambda: True)
    monkeypatch.setattr(progress, "DELAY", 0.0)


COMMANDS = {
    "corpus": (["text", "counts", "shards"], lambda made, out: ["corpus", made / "text.txt", out / "corpus"]),
    "lexicon": (
        ["text", "n-grams", "neighbours", "decomposition", "strings"],
        lambda made, out: ["lexicon", made / "text.txt", out / "lexicon", "--strings", 10, "--width", 4],
    ),
    "pretrain": (
        ["checksums", "text", "perplexity"],
        lambda made, out: [*tiny(made)[:3], out / "run", *tiny(made)[4:]],
    ),
    "evaluate": (
        ["text", "perplexity"],
        lambda made, out: ["evaluate", made / "run" / "model", made / "text.txt"],
    ),
    "embed": (
        ["vectors", "file"],
        lambda made, out: ["embed", made / "run" / "model", made / "text.txt", out / "vectors.h5"],
    ),
    "nearest": (
        ["text"],
        lambda made, out: [
            "nearest",
            "我爱北京",
            "北京",
            made / "text.txt",
            "--model",
            made / "run" / "model",
        ],
    ),
    "convert": (
        ["weights", "weights.safetensors"],
        lambda made, out: ["convert", *_of_others(out), out / "model", "--from", "bilm-tf", "--lang", "en"],
    ),
    "export": (
        ["weights", "model.onnx"],
        lambda made, out: ["export", made / "run" / "model", out / "model.onnx"],
    ),
    "estimate": (
        ["speed"],
        lambda made, out: ["estimate", CONFIG, "--corpus-size", "3GB", "--vocab-size", 50, *SMALL],
    ),
    "info": (["benchmark"], lambda made, out: ["info", made / "run" / "model", "--benchmark"]),
}
SMALL = ["--model.projection_dim", 4, "--model.hidden_size", 8, "--training.batch_tokens", 64]


NEEDS = {"embed": "h5py", "convert": "h5py", "export": "onnx"}


def _of_others(folder):
    """Options and weights of bilm-tf."""
    formats = pytest.importorskip("formats.helpers", reason="the tests of formats need h5py")
    formats.write_bilm_tf(folder, formats.OPTIONS, formats.bilm_tf_tensors(formats.OPTIONS))
    return folder / "options.json", folder / "model.hdf5"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_shows_bars_where_a_person_watches(command, made, tmp_path, watched, monkeypatch):
    if command in NEEDS:
        pytest.importorskip(NEEDS[command], reason=f"the package {NEEDS[command]} is not installed")
    monkeypatch.setattr(info, "SECONDS", 0.1)
    names, arguments = COMMANDS[command]
    result = run(*arguments(made, tmp_path))
    assert result.exit_code == 0, result.output
    for name in names:
        assert re.search(rf"{name}: +\d+%\|.*<", result.output), f"{name}: {result.output}"


@pytest.mark.parametrize("command", COMMANDS)
def test_no_bar_elsewhere(command, made, tmp_path, monkeypatch):
    if command in NEEDS:
        pytest.importorskip(NEEDS[command], reason=f"the package {NEEDS[command]} is not installed")
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(info, "SECONDS", 0.1)
    result = run(*COMMANDS[command][1](made, tmp_path))
    assert result.exit_code == 0, result.output
    assert "%|" not in result.output


def test_a_library_call_shows_none(capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    assert list(track("abc", "letters")) == ["a", "b", "c"]
    with show_progress(), progress_bar("bytes", 2048, "B") as advance:
        advance(1024)
    with show_progress(False):
        assert list(track("abc", "letters")) == ["a", "b", "c"]
    said = capsys.readouterr().err
    assert "bytes" in said
    assert "letters" not in said

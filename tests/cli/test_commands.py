"""`spacy elmo ...`: from a text to a measured model."""

import gzip
import json
import os
import subprocess
import sys

import pytest

from spacy_elmo.inference import loading
from spacy_elmo.inference.backends import available_backends

from .helpers import CONFIG, plain, run, tiny
from .test_errors import refused


def test_corpus(text, tmp_path):
    result = run("corpus", text, tmp_path / "corpus", "--max-sentence-length", 5)
    assert result.exit_code == 0
    assert "80 sentences, 320 units, 12 distinct" in plain(result.output)
    manifest = json.loads((tmp_path / "corpus" / "manifest.json").read_bytes())
    assert {
        key: manifest[key] for key in ("units", "segmenter", "lang", "fold_fullwidth", "max_sentence_length")
    } == {
        "units": "char",
        "segmenter": "char",
        "lang": "zh",
        "fold_fullwidth": True,
        "max_sentence_length": 5,
    }


def test_corpus_of_words_from_several_inputs(text, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "more.jsonl.gz").write_bytes(gzip.compress(b'{"text": "Linux kernel"}\n'))
    args = ["--units", "word", "--lang", "en"]
    result = run("corpus", text, tmp_path / "folder", tmp_path / "corpus", *args)
    assert result.exit_code == 0, result.output
    assert "kernel\t1" in (tmp_path / "corpus" / "vocab_counts.tsv").read_text(encoding="utf8")


@pytest.mark.parametrize(
    ("name", "data", "times"),
    [
        ("a.txt", "你好。\n".encode() * 50 + b"\xff\xfe\n", "2 times"),
        ("a.jsonl", rb'{"text": "\ud83d\u4f60"}', "once"),
    ],
)
def test_invalid_text_is_reported_as_what_it_is(tmp_path, name, data, times):
    (tmp_path / name).write_bytes(data)
    result = run("corpus", tmp_path / name, tmp_path / "corpus")
    assert result.exit_code == 0
    assert f"Invalid text was replaced by U+FFFD {times}: bytes that are not UTF-8, or" in plain(
        result.output
    )


def test_a_tilde_is_the_home_folder(text, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run("corpus", "~/text.txt", "~/corpus").exit_code == 0
    assert (tmp_path / "corpus" / "manifest.json").is_file()
    assert run("corpus", "~nobody-here/text.txt", "corpus").exit_code == 1
    assert not list((tmp_path / "here").iterdir())


def test_pretrain_writes_a_model_that_loads(made):
    bilm = loading.load(made / "run" / "model")
    assert bilm.width == 8
    assert json.loads((made / "run" / "run.json").read_bytes())["settings"]["training"]["max_steps"] == 3


def test_pretrain_says_what_it_reached_and_goes_on(made):
    result = run(*tiny(made))
    assert result.exit_code == 0
    said = plain(result.output)
    assert "perplexity forward" in said
    assert "run/model" in said.replace(" ", "")


def test_evaluate(made, tmp_path):
    result = run("evaluate", made / "run" / "model", made / "text.txt", "--output", tmp_path / "metrics.json")
    assert result.exit_code == 0
    figures = json.loads((tmp_path / "metrics.json").read_bytes())
    assert f"{figures['forward']:.2f}" in result.output
    assert f"{figures['per_character_backward']:.2f}" in result.output
    assert figures["sentences"] == 40
    assert figures["units"] == 320
    assert figures["unknown"] == 0
    assert "320 units in 40 sentences, 0.00% unknown" in result.output


def test_info(made):
    result = run("info", made / "run" / "model")
    assert result.exit_code == 0
    for text in ("char (zh, segmenter char)", "12 units", "3 of width 8", "2 x 8, projection 4"):
        assert text in result.output
    assert f"{available_backends()[0]}, " in result.output


def test_info_of_the_embedded_model():
    result = run("info")
    assert result.exit_code == 0
    assert "zh_elmo_sm" in result.output


def test_plan():
    args = ["--corpus-size", "3GB", "--vocab-size", 8000, "--tokens-per-second", 9000]
    result = run("estimate", CONFIG, *args, "--training.batch_tokens", 4096)
    assert result.exit_code == 0
    said = plain(result.output)
    for text in ("3.4 M", "memory per process", "units per batch 4,096", "9,000 units/s", "30.3 minutes"):
        assert text in said
    assert run("estimate", CONFIG, "--corpus-size", "much").exit_code == 1


@pytest.mark.parametrize(
    ("steps", "gpus", "time"),
    [
        (1, 1, "0.0 minutes on one GPU or process"),
        (60_000, 1, "3.8 hours on one GPU or process"),
        (1_000_000, 4, "17.6 hours on 4 GPUs or processes"),
        (3_000_000, 4, "2.2 days on 4 GPUs or processes"),
    ],
)
def test_the_time_of_a_run_has_a_fitting_unit(steps, gpus, time):
    args = ["--corpus-size", "3GB", "--vocab-size", 8000, "--tokens-per-second", 9000, "--gpus", gpus]
    result = run("estimate", CONFIG, *args, "--training.max_steps", steps)
    assert result.exit_code == 0, result.output
    assert time in plain(result.output)


def test_help():
    for command in ("corpus", "pretrain", "evaluate", "estimate", "info", "nearest"):
        assert run(command, "--help").exit_code == 0
        assert command in run("--help").output


# from a shell


def shell(*args) -> tuple[int, str]:
    done = subprocess.run([sys.executable, *map(str, args)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_as_a_module(text, tmp_path):
    status, said = shell("-m", "spacy_elmo", "corpus", text, tmp_path / "corpus")
    assert status == 0, said
    assert "40 sentences" in plain(said)
    assert (tmp_path / "corpus" / "manifest.json").is_file()


def test_under_spacy(tmp_path):
    status, said = shell("-m", "spacy", "elmo", "corpus", tmp_path / "nowhere", tmp_path / "corpus")
    assert status == 1
    assert "The text" in said
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == []


def test_the_spacy_command_imports_no_more_than_the_commands():
    ours = "(m for m in sys.modules if m.startswith('spacy_elmo'))"
    code = f"import sys, spacy_elmo.cli.register; print(*sorted({ours}))"
    status, said = shell("-c", code)
    assert status == 0, said
    assert "spacy_elmo.cli.corpus" in said
    loaded = {m for m in said.split() if not m.startswith("spacy_elmo.cli")}
    assert loaded == {"spacy_elmo", "spacy_elmo.about", "spacy_elmo.errors", "spacy_elmo.progress"}


def test_an_output_inside_a_file_is_refused_before_the_measurement(made, tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_elmo.inference.loading.load", lambda path: pytest.fail("too late"))
    (tmp_path / "mine").write_text("mine")
    args = ("evaluate", made / "run" / "model", made / "text.txt", "--output", tmp_path / "mine" / "x.json")
    refused(tmp_path, *args, message="mine is a file, not a folder")


LOGS = """
import logging
import spacy
from spacy_elmo.cli.app import app, command

@command("log")
def log():
    logging.getLogger("spacy").warning("of spaCy")
    logging.getLogger("spacy_elmo").warning("of ELMo")
    logging.getLogger("spacy").info("a detail")
    logging.getLogger("spacy_elmo").info("a step")

app([])
"""


def test_each_message_is_logged_once():
    done = subprocess.run([sys.executable, "-c", LOGS], capture_output=True, text=True, check=True)
    assert (done.stderr.count("of spaCy"), done.stderr.count("of ELMo")) == (1, 1)
    assert (done.stderr.count("a detail"), done.stderr.count("a step")) == (0, 1)

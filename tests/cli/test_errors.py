"""Messages of the commands when something is wrong, and that they leave nothing."""

import gzip
import json
import os
from pathlib import Path

import pytest

from spacy_elmo.atomic_io import write_atomic
from spacy_elmo.inference import loading

from .helpers import TEXT, plain, run, tiny


def refused(folder: Path, *args, message: str) -> None:
    """Exit status 1, one sentence, no traceback, and not a file or folder more or less."""
    before = {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}
    result = run(*args)
    said = plain(result.output)
    assert result.exit_code == 1, result.output
    assert message in said
    assert "Traceback" not in said
    assert said.startswith("✘ ")
    assert said.count("✘") == 1
    assert len(said) < 500 + 3 * len(str(folder))
    assert {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")} == before


# what is wrong with a corpus


def test_corpus_of_bad_text(tmp_path):
    for name, data, message in (
        ("gb.txt", "好。\n".encode() + "你好。\n".encode("gb18030") * 20, "line 2 is not UTF-8"),
        ("empty.txt", b"", "input has no sentences"),
        ("blank.txt", "\n 　\n".encode(), "input has no sentences"),
        ("no.jsonl", b'{"txt": "a"}', "line 1 is not a JSON object"),
        ("null.jsonl", b'{"text": "a"}\n{"text": null}', 'The "text" of'),
        ("list.jsonl", b'{"text": ["a"]}', "is not a string: correct the line, or remove it"),
        ("deep.jsonl", b'{"text": ' + b"[" * 99999, "line 1 is not a JSON object"),
        ("all.json", b'[{"text": "a"}]', "is JSON: give .txt, or .jsonl"),
        ("small.txt", "你好。\n".encode("gb18030"), "line 1 is not UTF-8"),
        ("mark.txt", "ab\n".encode("utf-16"), "is UTF-16"),
        ("zeros.txt", "ab\n".encode("utf-16-le"), "is UTF-16 or not text"),
        ("cut.txt.gz", gzip.compress(TEXT.encode())[:-12], "cannot be read"),
    ):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path, "corpus", tmp_path / name, tmp_path / "new" / "corpus", message=message)


def test_corpus_of_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    refused(tmp_path, "corpus", tmp_path / "nowhere", tmp_path / "out", message="The text")
    refused(tmp_path, "corpus", tmp_path / "folder", tmp_path / "out", message="holds no text files")


def test_corpus_with_bad_options(text, tmp_path):
    out = tmp_path / "out"
    refused(tmp_path, "corpus", text, out, "--units", "byte", message="--units byte is not known")
    message = "--segmenter jieba is for words: give --units word, too"
    refused(tmp_path, "corpus", text, out, "--segmenter", "jieba", message=message)
    refused(tmp_path, "corpus", text, out, "--n-process", 0, message="n_process = 0 is not valid")
    words = ["corpus", text, out, "--units", "word"]
    refused(tmp_path, *words, "--segmenter", "scissors", message='"scissors" of "zh" cannot be loaded')
    refused(tmp_path, *words, "--lang", "klingon", message='of "klingon" cannot be loaded')
    refused(tmp_path, "corpus", text, tmp_path / ("x" * 300), message="File name too long")
    assert run("corpus", text, out, "--max-sentence-length", 0).exit_code == 2
    assert run("corpus", text).exit_code == 2


def test_corpus_into_other_peoples_places(text, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"")
    monkeypatch.setattr(
        "spacy_elmo.pretraining.data.text_files.read_lines", lambda path: pytest.fail("too late")
    )
    refused(tmp_path, "corpus", text, tmp_path / "photos", message="it holds other files")
    refused(tmp_path, "corpus", text, text, message="it is a file")
    refused(tmp_path, "corpus", text, text / "below", message="is a file")


# what is wrong with a run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--training.steps": 5}, "[training] has no setting 'steps'"),
        ({"--training.max_steps": "many"}, "max_steps = 'many' must be of type int"),
        ({"--model.projektion": 8}, '"projektion" is not a setting'),
        ({"--model.hidden_size": 2}, "hidden_size must be at least"),
        ({"--nonsense.x": 8}, "nonsense"),
        ({"--paths.train": "nowhere"}, "nowhere is not a corpus folder"),
        ({"--paths.dev": "nowhere"}, "nowhere cannot be read"),
        ({"--paths.train": "null"}, "give both"),
        ({"--vocab.min_count": 999}, "lower min_count"),
    ],
    ids=str,
)
def test_pretrain_with_bad_settings(made, tmp_path, changes, message):
    args = tiny(made, **changes)
    args[args.index("--output") + 1] = tmp_path / "new" / "run"
    refused(tmp_path, *args, message=message)


def test_settings_without_their_section(made, tmp_path):
    message = "--max_steps is not an option: see --help, or name a setting with its section"
    args = tiny(made, **{"--max_steps": 5})
    args[args.index("--output") + 1] = tmp_path / "new" / "run"
    refused(tmp_path, *args, message=message)
    refused(tmp_path, "estimate", args[1], "--max_steps", 5, message=message)


def test_pretrain_without_a_config_and_into_other_peoples_places(made, tmp_path):
    args = tiny(made)
    args[1] = tmp_path / "nowhere.cfg"
    refused(tmp_path, *args, message="The configuration")
    for place, message in ((made / "text.txt", "it is a file"), (made / "corpus", "it holds other files")):
        args = tiny(made)
        args[args.index("--output") + 1] = place
        refused(made, *args, message=message)


def test_pretrain_on_a_run_of_other_settings(made):
    refused(made, *tiny(made, **{"--training.dropout": 0.5}), message="holds a run with other settings")


# what is wrong with a model


def test_evaluate_and_info_of_bad_models(made, tmp_path):
    model, text = tmp_path / "model", made / "text.txt"
    loading.load(made / "run" / "model").save(model)
    weights = (model / "weights.safetensors").read_bytes()
    config = json.loads((model / "config.json").read_bytes())

    def check(message: str, path: Path = model) -> None:
        refused(tmp_path, "evaluate", path, text, "-o", tmp_path / "metrics.json", message=message)
        refused(tmp_path, "info", path, message=message)

    check("The model folder", tmp_path / "nowhere")
    check("is a file", model / "vocab.txt")
    (model / "weights.safetensors").write_bytes(weights[:-100])
    check("weights.safetensors is damaged")
    (model / "weights.safetensors").unlink()
    check("weights.safetensors is missing")
    (model / "weights.safetensors").write_bytes(weights)
    write_atomic(model / "config.json", json.dumps({**config, "format_version": 3}).encode())
    check("is of format version 3")
    wrong = {**config, "bilm": {**config["bilm"], "dropuot": 0.1}}
    write_atomic(model / "config.json", json.dumps(wrong).encode())
    check('"dropuot" is not a setting')
    write_atomic(model / "config.json", b"{")
    check("config.json is damaged")


def test_evaluate_on_bad_text(made, tmp_path):
    model = made / "run" / "model"
    (tmp_path / "gb.txt").write_bytes("你好".encode("gb18030"))
    (tmp_path / "empty.txt").write_bytes(b"")
    for name, message in (
        ("gb.txt", "not UTF-8"),
        ("empty.txt", "is empty"),
        ("nowhere.txt", "cannot be read"),
        ("", "cannot be read"),
    ):
        refused(tmp_path, "evaluate", model, tmp_path / name, "-o", tmp_path / "m.json", message=message)


def test_evaluate_into_a_bad_place(made, tmp_path):
    args = ["evaluate", made / "run" / "model", made / "text.txt", "--output"]
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path, tmp_path / "file" / "metrics.json"):
        result = run(*args, place)
        assert result.exit_code == 1
        assert "Cannot write" in result.output
    assert os.listdir(tmp_path) == ["file"]

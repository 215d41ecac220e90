"""`spacy elmo package`: a model as a wheel, found by its name once it is installed."""

import os
import subprocess
import sys
from zipfile import ZipFile

import numpy as np
import pytest
from pipeline.helpers import make_bilm

from spacy_elmo.inference import loading

from .helpers import plain, run
from .test_errors import refused

PROGRAM = """
import sys
import spacy, spacy_elmo
nlp = spacy.blank("zh")
nlp.add_pipe("elmo", config={"model": {"path": "zh_elmo_tiny", "precision": "f32"}})
print(*nlp("他打球")._.elmo.layers.ravel().tolist())
print("zh_elmo_tiny" in sys.modules)
nlp.to_disk(sys.argv[1])
"""


@pytest.fixture
def model(tmp_path):
    make_bilm().save(tmp_path / "model")
    return tmp_path / "model"


def installed(wheel, folder):
    """Install a wheel as pip does, into a folder of its own; returns the environment that finds it."""
    ZipFile(wheel).extractall(folder)
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def test_found_by_its_name(model, tmp_path):
    (model / "README.md").write_text("# The card\n", encoding="utf8")
    result = run("package", model, tmp_path / "out", "--name", "zh_elmo_tiny", "--version", "1.2")
    assert result.exit_code == 0, result.output
    (wheel,) = (tmp_path / "out").iterdir()
    assert wheel.name == "zh_elmo_tiny-1.2-py3-none-any.whl"
    names = {name.split("/")[-1] for name in ZipFile(wheel).namelist() if name.startswith("zh_elmo_tiny/")}
    assert names == {"__init__.py", "README.md", "config.json", "vocab.txt", "weights.safetensors"}
    environment = installed(wheel, tmp_path / "site")
    call = [sys.executable, "-c", PROGRAM, str(tmp_path / "pipeline")]
    done = subprocess.run(call, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    values, imported = done.stdout.splitlines()
    expected = loading.load(model).encode([list("他打球")], precision="f32")[0]
    np.testing.assert_array_equal(np.array(values.split(), dtype="f"), expected.ravel())
    assert imported == "False"
    call = [sys.executable, "-m", "spacy_elmo", "info", "zh_elmo_tiny"]
    assert subprocess.run(call, env=environment, cwd=tmp_path, capture_output=True).returncode == 0


def test_a_description_of_any_characters(tmp_path):
    description = 'Model 😀 𠮷\x7f "quoted" \\ \x01'
    make_bilm(meta={"description": description}).save(tmp_path / "model")
    result = run("package", tmp_path / "model", tmp_path / "out", "--name", "zh_elmo_tiny")
    assert result.exit_code == 0, result.output
    with ZipFile(tmp_path / "out" / "zh_elmo_tiny-0.1.0-py3-none-any.whl") as wheel:
        metadata = wheel.read("zh_elmo_tiny-0.1.0.dist-info/METADATA").decode()
    assert f"Summary: {description}\n" in metadata


def test_a_folder_of_that_name_wins(model, tmp_path, monkeypatch):
    make_bilm().save(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "installed_models", lambda: {"mine": model, "other": model})
    assert str(loading.resolve_model_path("mine")) == "mine"
    assert loading.resolve_model_path("other") == model
    with pytest.raises(loading.ModelFolderError, match=r"installed model \(zh_elmo_sm, mine, other\)"):
        loading.resolve_model_path("another")


@pytest.mark.parametrize("name", ["Zh", "zh-elmo", "../zh", " ", "1zh", "zh__elmo", "名字", "zh\nelmo"])
def test_names_that_no_package_has(name, model, tmp_path):
    result = run("package", model, tmp_path / "out", "--name", name)
    assert result.exit_code == 1
    assert "is not a name of a package" in plain(result.output)
    assert not (tmp_path / "out").exists()


def test_what_is_refused(model, tmp_path):
    out = tmp_path / "out"
    refused(tmp_path, "package", model, out, message="The model has no name: give --name")
    refused(tmp_path, "package", model, out, "--name", "numpy", message="the name of another module")
    refused(tmp_path, "package", model, out, "--name", "zh_elmo_sm", message="the name of the bundled model")
    (tmp_path / "mine").write_text("mine")
    for place in ("mine", "mine/below"):
        named = ("package", model, tmp_path / place, "--name", "other")
        refused(tmp_path, *named, message="mine is a file, not a folder")
    for version in ("new", "1.0-rc1", "1.0/..", "01"):
        refused(
            tmp_path,
            "package",
            model,
            out,
            "--name",
            "zh_tiny",
            "--version",
            version,
            message="is not a version",
        )
    damaged = tmp_path / "damaged"
    make_bilm().save(damaged)
    (damaged / "vocab.txt").write_text("x\n", encoding="utf8")
    refused(tmp_path, "package", damaged, out, "--name", "zh_tiny", message="vocab.txt")
    refused(tmp_path, "package", tmp_path / "none", out, "--name", "zh_tiny", message="none")
    assert run("package", model, out, "--name", "zh_tiny").exit_code == 0
    refused(tmp_path, "package", model, out, "--name", "zh_tiny", message="exists: delete it")
    assert len(list(out.iterdir())) == 1

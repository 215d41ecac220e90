"""`spacy elmo export`: the file, and what is refused."""

import pytest

from .helpers import plain, run


def test_it_writes_a_file_and_replaces_none(made, tmp_path):
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    result = run("export", made / "run" / "model", tmp_path / "new" / "model.onnx")
    assert result.exit_code == 0, result.output
    assert "layers in float32" in plain(result.output)
    before = (tmp_path / "new" / "model.onnx").read_bytes()
    again = run("export", made / "run" / "model", tmp_path / "new" / "model.onnx")
    assert again.exit_code == 1
    assert "name a new file" in plain(again.output)
    assert (tmp_path / "new" / "model.onnx").read_bytes() == before


def test_a_folder_is_not_mistaken_for_a_file(tmp_path):
    result = run("export", "zh_elmo_sm", tmp_path / "model")
    assert result.exit_code == 1
    assert "name the file to write NAME.onnx" in plain(result.output)

"""Files that the training of the distilled tagger reads: lines of any text, and what cannot be used."""

import distill
import pytest
import typer
from test_comparison import script


def test_a_line_ends_only_at_a_line_break(tmp_path):
    (tmp_path / "text.txt").write_text("甲\u2028乙\x85\n丙\n", encoding="utf8")
    assert distill.read_lines(tmp_path / "text.txt") == ["甲\u2028乙\x85\n", "丙\n"]


def test_files_that_cannot_be_read_are_one_sentence(tmp_path, capsys):
    (tmp_path / "text.txt").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "text.txt", tmp_path / "nothing.txt"):
        with pytest.raises(typer.Exit):
            distill.read_lines(path)
        assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "few.jsonl").write_text('[["甲", "n"]]\n', encoding="utf8")
    done = script("distill", "train", tmp_path / "few.jsonl", tmp_path / "tagger.safetensors")
    assert done.returncode == 1
    assert "has 1 sentences: label more than 600" in done.stderr

"""A text, and what the commands make of it."""

from pathlib import Path

import pytest

from .helpers import TEXT, run, tiny


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A folder with text.txt, corpus, run/model, made by the commands."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "text.txt").write_text(TEXT, encoding="utf8")
    assert run("corpus", folder / "text.txt", folder / "corpus").exit_code == 0
    assert run(*tiny(folder)).exit_code == 0
    return folder


@pytest.fixture
def text(tmp_path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf8")
    return tmp_path / "text.txt"

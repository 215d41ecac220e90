"""The site of the documentation: built without a warning, complete, and loading nothing from elsewhere."""

import os
import re
import subprocess
import sys
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

import pytest

from spacy_elmo.cli.commands import __all__ as commands

ROOT = Path(__file__).parents[2]
needs_mkdocs = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings_handlers")),
    reason="mkdocs-material or mkdocstrings-python is not installed (the extra docs)",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@needs_mkdocs
def test_pages_load_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf8")
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]*\ssrc="?(\w+:)?//', text)
        loaded += re.findall(r'<link[^>]*rel="?(?:stylesheet|preconnect|icon)[^>]*href="?(\w+:)?//', text)
        assert not loaded, page
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", style.read_text(encoding="utf8")), (
            style
        )


@needs_mkdocs
def test_the_reference_is_complete(site):
    page = (site / "cli.html").read_text(encoding="utf8")
    for name in set(commands) - {"app"}:
        assert f"spacy elmo {name.replace('_', '-')}</code></h2>" in re.sub(r"<a .*?</a>", "", page), name
    assert "<p>spacy elmo" not in page  # examples are code
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf8")
    page = (site / "configuration.html").read_text(encoding="utf8")
    for group in ("spacy_factories", "spacy_architectures", "spacy_readers", "spacy_scorers"):
        for line in config["options.entry_points"][group].strip().splitlines():
            assert re.search(rf"<h3 [^>]*>\s*{re.escape(line.split(' = ')[0])}\b", page), line
    assert "learning_rate" in page
    assert "use_skip_connections" in page


def test_architecture_names_files_that_are_there():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf8")
    paths = re.findall(r"`([\w/-]+(?:\.py|\.h|/))`", page)
    assert len(paths) > 20
    for path in paths:
        assert (ROOT / "spacy_elmo" / path).exists() or (ROOT / path).exists(), path

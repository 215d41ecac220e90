"""The scripts of the projects are not packages: this puts their folders where the tests can import them."""

import sys
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc, DocBin

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "projects" / folder) for folder in ("zh_elmo/scripts", "browser")]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Twelve sentences of four words, whose tags are told by the words."""
    vocab = spacy.blank("zh").vocab
    docs = DocBin()
    for i in range(12):
        words = ["他打球"[(i + j) % 3] for j in range(4)]
        docs.add(Doc(vocab, words=words, tags=["他打球".index(w) * "a" + "b" for w in words]))
    path = tmp_path_factory.mktemp("data") / "all.spacy"
    docs.to_disk(path)
    return path

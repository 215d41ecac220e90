"""A model, and its folder."""

from pathlib import Path

import pytest

from spacy_elmo.inference.bilm import BiLM

from .helpers import make_bilm


@pytest.fixture
def bilm() -> BiLM:
    return make_bilm(meta={"name": "测试"})


@pytest.fixture
def folder(bilm, tmp_path) -> Path:
    bilm.save(tmp_path / "model")
    return tmp_path / "model"

"""A run that nobody interrupted."""

from pathlib import Path

import pytest

from spacy_elmo.pretraining.config import PretrainConfig
from spacy_elmo.pretraining.trainer import pretrain

from .helpers import make_settings


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> tuple[PretrainConfig, Path]:
    """PretrainConfig, and the folder of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    settings = make_settings(folder)
    pretrain(settings, folder / "run")
    return settings, folder / "run"

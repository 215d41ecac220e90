"""Trained once: small readers that know their training data."""

import pytest

from .helpers import BASELINE, WITH_ELMO_TWICE, blank, save_bilm, train


@pytest.fixture(scope="package")
def bilm(tmp_path_factory):
    """Folder of a random biLM."""
    return save_bilm(tmp_path_factory.mktemp("bilm") / "model")


@pytest.fixture(scope="package")
def trained():
    """A pipeline without ELMo."""
    nlp = blank(BASELINE)
    train(nlp, 60)
    return nlp


@pytest.fixture(scope="package")
def trained_elmo(bilm):
    """A pipeline with ELMo at the input and at the output."""
    nlp = blank(WITH_ELMO_TWICE, bilm=bilm)
    train(nlp, 60)
    return nlp

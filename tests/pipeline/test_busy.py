"""Warnings of a training on a machine whose processors other programs use."""

import logging
import os

import pytest
import torch

from .helpers import train


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def messages_of_training(nlp, caplog, monkeypatch, load: float) -> list[str]:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    with caplog.at_level(logging.WARNING, logger="spacy"):
        train(nlp, 2)
    return [record.message for record in caplog.records if "OMP_NUM_THREADS" in record.message]


def test_a_training_on_a_busy_machine_says_once_how_to_be_fast(tagger_nlp, caplog, monkeypatch, two_threads):
    (said,) = messages_of_training(tagger_nlp, caplog, monkeypatch, 9.94)
    assert said.startswith("Other programs use the processors (load 9.9 on 2)")
    assert "train with OMP_NUM_THREADS=1" in said


@pytest.mark.parametrize(("load", "n_threads"), [(2.5, 2), (9.9, 1)])
def test_an_idle_machine_or_one_thread_needs_no_warning(
    tagger_nlp, caplog, monkeypatch, two_threads, load, n_threads
):
    torch.set_num_threads(n_threads)
    assert messages_of_training(tagger_nlp, caplog, monkeypatch, load) == []

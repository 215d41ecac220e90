"""The benchmark of `spacy elmo info`: every backend of the machine, on the model's own units."""

import pytest
from modeling.helpers import ENCODERS, make_bilm

from spacy_elmo.inference.backends import available_backends
from spacy_elmo.inference.benchmark import N_SENTENCES, backend_runs, measure, sample_sentences

JOINED = {"stacked_bidirectional": True, "has_softmax": False, "tie_softmax": False}


@pytest.mark.parametrize("changes", [*ENCODERS.values(), JOINED], ids=[*ENCODERS, "joined"])
def test_every_backend_is_measured(changes):
    bilm = make_bilm(**changes)
    sentences = sample_sentences(bilm)
    assert len(sentences) == N_SENTENCES
    assert all(unit in bilm.vocab or not bilm.vocab.units for sentence in sentences for unit in sentence)
    runs = backend_runs(bilm)
    names = {backend for backend, _ in runs} - {"cuda"}
    assert names == ({"torch"} if "stacked_bidirectional" in changes else {available_backends()[0], "torch"})
    passed = []
    speeds = measure(runs, sentences[:2], 0.0, passed.append)
    assert speeds.keys() == runs.keys()
    assert all(speed.units_per_second > 0 and speed.seconds_per_sentence > 0 for speed in speeds.values())
    assert sum(passed) == 0.0

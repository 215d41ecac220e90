"""A pipeline on a GPU: the vectors of the CPU, tasks that learn there and continue on the CPU."""

import numpy as np
import pytest
import spacy
from thinc.util import has_cupy_gpu, has_torch_cuda_gpu

from .helpers import TEXTS, blank, examples, layers_of, parser_config, tagger_config, tok2vec, train

pytestmark = pytest.mark.skipif(
    not (has_cupy_gpu and has_torch_cuda_gpu), reason="needs a GPU, with cupy for spaCy"
)


@pytest.fixture
def on_gpu():
    """The GPU for this test."""
    spacy.require_gpu()
    yield
    spacy.require_cpu()


def test_vectors_are_those_of_the_cpu(char_model, on_gpu):
    found = layers_of(blank(char_model))
    spacy.require_cpu()
    for layers, expected in zip(found, layers_of(blank(char_model)), strict=True):
        assert isinstance(layers, np.ndarray)
        assert layers.shape == expected.shape
        assert np.linalg.norm(layers - expected) <= 0.03 * np.linalg.norm(expected)


def test_tasks_learn_there_and_go_on_on_the_cpu(char_model, tmp_path, on_gpu):
    nlp = blank(char_model)
    listener = {"@architectures": "spacy-elmo.ElmoListener.v1"}
    output = {"@architectures": "spacy-elmo.ConcatOutput.v1", "width": 24, "elmo": listener}
    tagger = tagger_config()["model"]
    nlp.add_pipe("tagger", config={"model": {**tagger, "tok2vec": {**output, "tok2vec": tok2vec()}}})
    nlp.add_pipe("ner", config=parser_config("ner"))
    train(nlp, steps=30)
    gold = [[token.tag_ for token in example.reference] for example in examples(nlp)]
    found = [[token.tag_ for token in nlp(example.predicted)] for example in examples(nlp)]
    assert found == gold
    assert len(list(nlp.pipe(TEXTS))) == len(TEXTS)
    nlp.to_disk(tmp_path / "nlp")
    spacy.require_cpu()
    again = spacy.load(tmp_path / "nlp")
    assert [[t.tag_ for t in again(example.predicted)] for example in examples(again)] == gold

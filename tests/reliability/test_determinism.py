"""The same bits on one machine, whatever the batch, the order, processes, threads and cache."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import spacy
import torch
from pipeline.helpers import make_bilm, tagger_config, train

from spacy_elmo.inference.bilm import BiLM

RNG = random.Random(0)
TEXTS = [
    "".join(RNG.choices("我去银行取钱自车很快他打球字北京的在哪里。", k=RNG.randrange(1, 60)))
    for _ in range(40)
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "m"
    make_bilm("char", projection_dim=32, hidden_size=64).save(path)
    return path


def pipeline(model, precision: str, **settings):
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": str(model), "precision": precision}, **settings})
    return nlp


def same(found, expected) -> bool:
    return all(map(np.array_equal, found, expected))


@pytest.mark.parametrize("precision", ["f32", "bf16", "int16"])
def test_the_same_bits(model, precision):
    nlp = pipeline(model, precision)
    expected = [nlp(text)._.elmo.layers for text in TEXTS]
    for batch_size in (1, 7, 1000):
        assert same([doc._.elmo.layers for doc in nlp.pipe(TEXTS, batch_size=batch_size)], expected)
    order = list(range(len(TEXTS)))
    RNG.shuffle(order)
    shuffled = list(nlp.pipe([TEXTS[i] for i in order]))
    assert same([doc._.elmo.layers for doc in shuffled], [expected[i] for i in order])
    with ThreadPoolExecutor(4) as pool:
        assert same(pool.map(lambda text: nlp(text)._.elmo.layers, TEXTS), expected)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            assert same([doc._.elmo.layers for doc in nlp.pipe(TEXTS)], expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("batch_tokens", [1, 64, 10**6])
def test_the_same_bits_whatever_is_computed_at_once(batch_tokens):
    bilm: BiLM = make_bilm("char")
    sentences = [list(text) for text in TEXTS]
    assert same(bilm.encode(sentences, batch_tokens=batch_tokens), [bilm.encode([s])[0] for s in sentences])


def test_the_same_bits_with_a_cache_and_after_saving(model, tmp_path):
    weights, vectors = [], []
    for settings in ({"cache_mb": 0}, {}, {"cache_dir": str(tmp_path / "cache")}):
        spacy.util.fix_random_seed(0)
        nlp = pipeline(model, "auto", **settings)
        nlp.add_pipe("tagger", config=tagger_config())
        train(nlp, steps=3)
        weights.append(nlp.get_pipe("tagger").model.to_bytes())
        vectors.append([doc._.elmo.layers for doc in nlp.pipe(TEXTS)])
        nlp.to_disk(tmp_path / "nlp")
        again = spacy.load(tmp_path / "nlp")
        assert same([doc._.elmo.layers for doc in again.pipe(TEXTS)], vectors[-1])
    assert len(set(weights)) == 1
    assert same(vectors[1], vectors[0])
    assert same(vectors[2], vectors[0])

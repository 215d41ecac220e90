"""The activation cache: the same vectors, computed once, within its budget, gone with the weights."""

import pickle

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.util import fix_random_seed

from spacy_elmo.pipeline.cache import ActivationCache

from .helpers import TEXTS, assert_same, blank, layers_of, tagger_config, train

sentences = st.lists(st.lists(st.sampled_from("打球字我他"), max_size=4), max_size=8)


class Counting:
    """Stands for a biLM: vectors that tell the sentence, and a count of what was computed."""

    def __init__(self):
        self.computed = 0

    def __call__(self, batch):
        self.computed += len(batch)
        return [np.full((3, len(s), 2), sum(map(ord, s)), dtype=np.float32) for s in batch]


@given(st.lists(sentences, max_size=5), st.integers(0, 400))
def test_same_vectors_in_order_whatever_the_budget(batches, budget):
    encode, cache = Counting(), ActivationCache(budget)
    for batch in batches:
        for got, wanted in zip(cache.encode(encode, batch), Counting()(batch), strict=True):
            assert np.array_equal(got, wanted)
    assert cache.used <= budget


def test_each_sentence_is_computed_once():
    encode, cache = Counting(), ActivationCache(2**20)
    for _ in range(3):
        cache.encode(encode, ["我打球", "他打字", "我打球"])
    assert encode.computed == 2
    assert len(cache) == 2


def test_nothing_is_kept_beyond_the_budget():
    encode, cache = Counting(), ActivationCache(3 * 3 * 2 * 4)  # one sentence of three units
    for _ in range(2):
        cache.encode(encode, ["我打球", "他打字"])
    assert len(cache) == 1
    assert encode.computed == 3


def test_what_is_kept_cannot_be_changed_from_outside():
    cache = ActivationCache(2**20)
    kept = cache.encode(Counting(), ["我打球"])[0]
    with pytest.raises(ValueError, match="read-only"):
        kept[:] = 0


def cache_of(nlp):
    return nlp.get_pipe("elmo").model.shims[0].cache


def trained_with(model, cache_mb):
    fix_random_seed(0)
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": str(model)}, "cache_mb": cache_mb})
    nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=6)
    return nlp


def test_training_is_the_same_with_and_without(char_model):
    cached, plain = trained_with(char_model, 1), trained_with(char_model, 0)
    assert len(cache_of(cached)) > 0
    assert cache_of(plain) is None
    assert_same(layers_of(cached), layers_of(plain))
    docs = [nlp.get_pipe("tagger").model.predict([nlp("我去银行取钱。")])[0] for nlp in (cached, plain)]
    np.testing.assert_allclose(*docs, atol=1e-4)


def test_only_training_caches(char_model):
    nlp = blank(char_model)
    nlp("我去银行取钱。")
    assert cache_of(nlp) is None


def test_the_cache_goes_with_the_weights(char_model, wide_model, tmp_path):
    nlp = trained_with(char_model, 1)
    other = blank(wide_model)
    other.get_pipe("elmo").to_disk(tmp_path / "elmo")
    nlp.get_pipe("elmo").from_disk(tmp_path / "elmo")
    assert cache_of(nlp) is None
    assert_same([nlp.get_pipe("elmo")(nlp.make_doc(text))._.elmo.layers for text in TEXTS], layers_of(other))


def test_the_cache_is_not_saved(char_model):
    nlp = trained_with(char_model, 1)
    assert nlp.get_pipe("elmo").model.copy().shims[0].cache is None
    assert pickle.loads(pickle.dumps(nlp.get_pipe("elmo").model.shims[0])).cache is None

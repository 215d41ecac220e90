"""The activation cache: the same vectors, computed once, within its budget, gone with the weights."""

import pickle

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.util import fix_random_seed

from spacy_elmo.pipeline.layers.activation_cache import ActivationCache, sentence_key

from .helpers import TEXTS, assert_same, blank, examples, layers_of, tagger_config, train

sentences = st.lists(st.lists(st.sampled_from("打球字我他"), max_size=4), max_size=8)


class Counting:
    """Stands for a biLM: vectors that tell the sentence, and a count of what was computed."""

    def __init__(self):
        self.computed = 0

    def __call__(self, batch):
        self.computed += len(batch)
        return [np.full((3, len(s), 2), sum(map(ord, s)) % 2048, dtype=np.float32) for s in batch]


@given(st.lists(sentences, max_size=5), st.integers(0, 400), st.booleans())
def test_same_vectors_in_order_whatever_the_budget(batches, budget, half):
    encode, cache = Counting(), ActivationCache(budget, half=half)
    for batch in batches:
        for got, wanted in zip(cache.encode(encode, batch), Counting()(batch), strict=True):
            assert np.array_equal(got, wanted)
    assert cache.store.used <= budget


def test_each_sentence_is_computed_once():
    encode, cache = Counting(), ActivationCache(2**20, half=True)
    for _ in range(3):
        cache.encode(encode, ["我打球", "他打字", "我打球"])
    assert encode.computed == 2
    assert len(cache.store) == 2


def test_nothing_is_kept_beyond_the_budget():
    encode, cache = (
        Counting(),
        ActivationCache(3 * 3 * 2 * 2, half=True),
    )  # one sentence of three units
    for _ in range(2):
        cache.encode(encode, ["我打球", "他打字"])
    assert len(cache.store) == 1
    assert encode.computed == 3


@pytest.mark.parametrize("half", [False, True])
def test_what_is_handed_out_belongs_to_the_receiver(half):
    cache = ActivationCache(2**20, half=half)
    (expected,) = Counting()(["我打球"])
    for _ in range(3):
        (found,) = cache.encode(Counting(), ["我打球"])
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
        found[:] = 0


@pytest.mark.parametrize("value", [1e6, -1e6, np.inf, np.nan])
def test_what_half_precision_cannot_hold_is_not_kept_and_stays_exact(value):
    layers = np.ones((3, 3, 2), dtype="f")
    layers[1, 2, 1] = value
    cache = ActivationCache(2**20, half=True)
    np.testing.assert_array_equal(cache.encode(lambda batch: [layers], ["我打球"])[0], layers)
    assert len(cache.store) == 0


@given(sentences, sentences)
def test_keys_tell_sentences_apart(some, others):
    for a in some:
        for b in others:
            assert (sentence_key(a) == sentence_key(b)) == (a == b)


def test_keys_tell_apart_what_is_cut_differently():
    assert len({sentence_key(s) for s in (["ab"], ["a", "b"], ["a\0b"], ["a", "", "b"], ["a\0", "b"])}) == 5


def cache_of(nlp):
    return nlp.get_pipe("elmo").model.shims[0].cache


def trained_with(model, precision="auto", **settings):
    fix_random_seed(0)
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": str(model), "precision": precision}, **settings})
    nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=6)
    return nlp


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_training_is_the_same_to_the_bit_wherever_vectors_are_kept(char_model, tmp_path, precision):
    on_disk = {"cache_dir": str(tmp_path)}
    ways = ({}, {"cache_mb": 0}, on_disk, on_disk)
    runs = [trained_with(char_model, precision, **settings) for settings in ways]
    memory, none, first, second = map(cache_of, runs)
    assert none is None
    assert len(memory.store) == len(first.store) == len(second.store) > 0
    assert len(list(tmp_path.glob("*/*.index"))) == 1  # the second found all there
    taggers = [nlp.get_pipe("tagger").model.to_bytes() for nlp in runs]
    assert all(tagger == taggers[0] for tagger in taggers)
    for nlp in runs[1:]:
        assert_same(layers_of(nlp), layers_of(runs[0]))


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_vectors_are_the_same_before_training_after_it_and_when_loaded_again(char_model, tmp_path, precision):
    nlp = blank(char_model)
    nlp.get_pipe("elmo").model.shims[0].precision = precision
    before = layers_of(nlp)
    trained = trained_with(char_model, precision)
    assert_same(layers_of(trained), before)
    trained.to_disk(tmp_path)
    assert_same(layers_of(spacy.load(tmp_path)), before)


def test_only_training_caches(char_model):
    nlp = blank(char_model)
    nlp("我去银行取钱。")
    assert cache_of(nlp) is None


def test_the_cache_goes_with_the_weights(char_model, wide_model, tmp_path):
    nlp = trained_with(char_model)
    other = blank(wide_model)
    other.get_pipe("elmo").to_disk(tmp_path / "elmo")
    nlp.get_pipe("elmo").from_disk(tmp_path / "elmo")
    assert cache_of(nlp) is None
    assert_same([nlp.get_pipe("elmo")(nlp.make_doc(text))._.elmo.layers for text in TEXTS], layers_of(other))


def test_the_cache_is_not_saved(char_model):
    nlp = trained_with(char_model)
    assert nlp.get_pipe("elmo").model.copy().shims[0].cache is None
    assert pickle.loads(pickle.dumps(nlp.get_pipe("elmo").model.shims[0])).cache is None


# --- The end of a training ---


def test_prediction_does_not_fill_the_cache():
    cache = ActivationCache(2**20)
    cache.encode(Counting(), ["我打球"])
    for _ in range(3):
        cache.encode(Counting(), ["他打字"], is_train=False)
    assert len(cache.store) == 1


def test_the_third_evaluation_of_the_same_sentences_computes_nothing():
    encode, cache = Counting(), ActivationCache(2**20)
    for _ in range(3):
        cache.encode(encode, ["我打球"])
        before = encode.computed
        cache.encode(encode, ["他打字", "他打球"], is_train=False)
    assert encode.computed == before


def test_much_prediction_ends_the_cache(char_model, monkeypatch):
    monkeypatch.setattr("spacy_elmo.pipeline.component.PATIENCE", 20)
    nlp = trained_with(char_model)
    used = cache_of(nlp).store.used
    before = layers_of(nlp)
    list(nlp.pipe(["我去银行取钱。"] * 10))
    assert used > 0
    assert cache_of(nlp) is None
    assert_same(layers_of(nlp), before)
    train(nlp, steps=1)  # a new training
    assert cache_of(nlp) is not None


def test_one_large_prediction_ends_the_cache(char_model, monkeypatch):
    monkeypatch.setattr("spacy_elmo.pipeline.component.PATIENCE", 20)
    nlp = trained_with(char_model)
    nlp("我去银行取钱。" * 10)
    assert cache_of(nlp) is None


def test_an_evaluation_that_ended_the_cache_does_so_no_more(char_model, monkeypatch):
    monkeypatch.setattr("spacy_elmo.pipeline.component.PATIENCE", 20)
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config=tagger_config())
    data = examples(nlp)
    nlp.initialize(lambda: data)
    ended = []
    for _ in range(4):
        nlp.update(data)
        nlp.evaluate(examples(nlp))
        nlp.evaluate(examples(nlp))
        ended.append(cache_of(nlp) is None)
    assert ended == [True, False, False, False]


def test_a_negative_size_is_refused(char_model):
    with pytest.raises(ValueError, match="cache_mb = -1 is not a size"):
        spacy.blank("zh").add_pipe("elmo", config={"cache_mb": -1})

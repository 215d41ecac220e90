"""Embeddings of pairs of tokens: which pairs are the same, and that they are learned and saved."""

import numpy as np
import spacy
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo.tasks.lexical.architectures import build_bigram_embed_v1
from spacy_elmo.tasks.lexical.bigram_embed import bigram_keys

from .helpers import make_doc

NLP = spacy.blank("zh")


@given(st.lists(st.sampled_from("一二三人"), max_size=12))
def test_equal_pairs_have_equal_keys_and_others_do_not(tokens):
    keys = bigram_keys(make_doc(NLP, "".join(tokens)))
    assert keys.shape == (len(tokens), 1)
    pairs = list(zip(tokens, [*tokens, None][1:], strict=True))
    for first, key in zip(pairs, keys, strict=True):
        for second, other in zip(pairs, keys, strict=True):
            assert (first == second) == (key == other).all()


def test_gradients_reach_the_pairs_of_a_batch_alone():
    model = build_bigram_embed_v1(width=8, rows=1000)
    docs = [make_doc(NLP, "一二三"), make_doc(NLP, "")]
    model.initialize(docs)
    before, _ = model.begin_update([make_doc(NLP, "二一"), *docs])
    Ys, backprop = model.begin_update(docs)
    assert [Y.shape for Y in Ys] == [(3, 8), (0, 8)]
    backprop([np.ones_like(Y) for Y in Ys])
    (embed,) = (node for node in model.walk() if node.name == "hashembed")
    assert (embed.get_grad("E") != 0).any(1).sum() <= 12  # 3 pairs, 4 rows each
    np.testing.assert_array_equal(model.predict(docs)[0], Ys[0])
    np.testing.assert_array_equal(before[1], Ys[0])


def test_bytes_keep_the_table():
    docs = [make_doc(NLP, "一二三")]
    model = build_bigram_embed_v1(width=8, rows=1000)
    model.initialize(docs)
    other = build_bigram_embed_v1(width=8, rows=1000)
    other.initialize(docs)
    other.from_bytes(model.to_bytes())
    np.testing.assert_array_equal(other.predict(docs)[0], model.predict(docs)[0])

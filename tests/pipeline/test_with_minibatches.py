"""Portions: a few docs at a time in prediction, all of a batch in training; nobody sees a difference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_elmo.batching import minibatch_by_size
from spacy_elmo.pipeline.layers import with_minibatches as module

from .helpers import blank, tagger_config, train

VOCAB = Vocab()


@given(st.lists(st.integers(0, 3 * module.MAX_TOKENS // 2), max_size=12))
def test_every_doc_once_in_order_and_no_portion_too_large(lengths):
    docs = [Doc(VOCAB, words=["a"] * n) for n in lengths]
    cut = list(minibatch_by_size(docs, module.MAX_TOKENS, len))
    assert [doc for portion in cut for doc in portion] == docs
    assert all(len(portion) == 1 or sum(map(len, portion)) <= module.MAX_TOKENS for portion in cut)


def test_predictions_do_not_depend_on_portions(char_model, monkeypatch):
    nlp = blank(char_model)
    tagger = nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=3)
    docs = list(nlp.pipe(["我去银行取钱。", "", "他打球，我打字。" * 5, " "]))
    whole = tagger.model.predict(docs)
    monkeypatch.setattr(module, "MAX_TOKENS", 5)
    calls = []
    layer = next(node for node in tagger.model.walk() if node.name == "elmo-with-minibatches").layers[0]
    run = layer._func
    monkeypatch.setattr(layer, "_func", lambda *a, **kw: calls.append(a) or run(*a, **kw))
    for one, other in zip(tagger.model.predict(docs), whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert len(calls) > 1


def test_no_gradient_through_a_prediction(char_model):
    nlp = blank(char_model)
    tagger = nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=0)
    layer = next(node for node in tagger.model.walk() if node.name == "elmo-with-minibatches")
    Y, backprop = layer([nlp("我去银行取钱。")], is_train=False)
    with pytest.raises(ValueError, match="call begin_update"):
        backprop(Y)

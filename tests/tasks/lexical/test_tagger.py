"""The component "crf_tagger"."""

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from .helpers import MODEL, train

SENTENCES = [("我 去 银行", "PN VV NN"), ("他 爱 北京 。", "PN VV NR PU"), ("好 ！", "VA PU")]


def make_examples(nlp):
    examples = []
    for text, tags in SENTENCES:
        words = text.split()
        spaces = [False] * len(words)
        reference = Doc(nlp.vocab, words=words, spaces=spaces, tags=tags.split())
        examples.append(Example(Doc(nlp.vocab, words=words, spaces=spaces), reference))
    return examples


@pytest.fixture(scope="module")
def nlp():
    nlp = spacy.blank("zh")
    nlp.add_pipe("crf_tagger", config={"model": MODEL})
    train(nlp, make_examples(nlp))
    return nlp


def tags(nlp, text, **kwargs):
    words = text.split()
    doc = nlp.get_pipe("crf_tagger")(Doc(nlp.vocab, words=words, spaces=[False] * len(words), **kwargs))
    return [token.tag_ for token in doc]


def test_learns_its_examples(nlp, tmp_path):
    assert nlp.evaluate(make_examples(nlp))["tag_acc"] == 1.0
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    for text, expected in SENTENCES:
        assert tags(loaded, text) == expected.split()


def test_tags_that_are_there_stay(nlp):
    found = tags(nlp, "我 去 银行", tags=["NR", "", "OTHER"])
    assert (found[0], found[2]) == ("NR", "OTHER")
    assert found[1] in nlp.get_pipe("crf_tagger").labels


def test_overwrite(nlp):
    pipe = nlp.get_pipe("crf_tagger")
    pipe.overwrite = True
    assert tags(nlp, "我 去 银行", tags=["NR", "", "OTHER"]) == ["PN", "VV", "NN"]
    pipe.overwrite = False


def test_missing_tags_are_not_learnt():
    nlp = spacy.blank("zh")
    pipe = nlp.add_pipe("crf_tagger", config={"model": MODEL})
    examples = make_examples(nlp)
    reference = Doc(nlp.vocab, words=["好", "人"], spaces=[False] * 2, tags=["VA", ""])
    examples.append(Example(Doc(nlp.vocab, words=["好", "人"], spaces=[False] * 2), reference))
    train(nlp, examples)
    assert "" not in pipe.labels
    assert pipe.gold_labels(examples[-1]).tolist() == [pipe.labels.index("VA"), -1]

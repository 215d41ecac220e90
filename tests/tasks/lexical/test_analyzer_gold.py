"""Learn words, tags and entities from annotation that no prediction can have, or that is missing."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus, Example

from spacy_elmo.errors import ElmoError

from .analyzer_helpers import CONFIG, words
from .helpers import train


def blank():
    nlp = spacy.blank("zh")
    nlp.add_pipe("lexical_analysis", config=CONFIG)
    return nlp


def example(nlp, tokens, tags, text=None):
    doc = Doc(nlp.vocab, words=tokens, spaces=[False] * len(tokens), tags=tags)
    return Example(nlp.make_doc(doc.text if text is None else text), doc)


@pytest.mark.parametrize("name", ["New York", "张\u3000三", "a\n b"])
def test_a_word_with_white_space_is_unknown_and_its_neighbours_stay_right(name):
    nlp = blank()
    examples = [
        example(nlp, [name, "是", "城市", "。"], ["ns", "v", "n", "w"]),
        example(nlp, ["在", name, "去", "上海"], ["p", "ns", "v", "ns"]),
    ]
    losses = train(nlp, examples)
    assert losses["lexical_analysis"] < 100  # a forbidden path costs 1e9
    doc = nlp(f"{name}是城市。")
    assert words(doc)[-3:] == ["是", "城市", "。"]
    assert [token.tag_ for token in doc][-3:] == ["v", "n", "w"]
    doc = nlp(f"在{name}去上海")
    assert (words(doc)[0], words(doc)[-2:]) == ("在", ["去", "上海"])


def test_tokens_with_white_space_align_too():
    nlp = blank()
    train(nlp, [example(nlp, ["北京", "是", "城市"], ["ns", "v", "n"])], 1)
    predicted = Doc(nlp.vocab, words=["北 京", "是", "城", "市"], spaces=[False] * 4)
    gold = Doc(nlp.vocab, words=["北京", "是", "城市"], spaces=[False] * 3, tags=["ns", "v", "n"])
    assert np.isfinite(nlp.update([Example(predicted, gold)])["lexical_analysis"])


@pytest.mark.parametrize("text", ["北京是城", "北京是城镇", "", "北京是城市市"])
def test_an_example_of_two_texts_is_refused(text):
    nlp = blank()
    right = example(nlp, ["北京", "是", "城市"], ["ns", "v", "n"])
    train(nlp, [right], 1)
    wrong = example(nlp, ["北京", "是", "城市"], ["ns", "v", "n"], text)
    with pytest.raises(ElmoError, match="the same text"):
        nlp.update([right, wrong])


def test_capitals_and_white_space_may_differ():
    nlp = blank()
    train(nlp, [example(nlp, ["北京", "是", "城市"], ["ns", "v", "n"])], 1)
    other = example(nlp, ["abc", "是", "城市"], ["ns", "v", "n"], "ABc 是城\n市")
    assert nlp.update([other])["lexical_analysis"] < 1e6


def test_spaces_that_nobody_knows_are_refused(tmp_path):
    """spaCy writes a space after each word, so an analyzer would learn to read spaces."""
    nlp = blank()
    doc = Doc(nlp.vocab, words=["北京", "是", "城市"], tags=["ns", "v", "n"])
    train(nlp, [Example(nlp.make_doc("北京是城市"), doc)], 1)
    DocBin(docs=[doc]).to_disk(tmp_path / "train.spacy")
    (read,) = Corpus(tmp_path / "train.spacy")(nlp)
    for wrong in (read, Example(nlp.make_doc(doc.text), doc)):
        with pytest.raises(ElmoError, match="`spaces`"):
            nlp.update([wrong])


def test_tokens_without_annotation_of_entities_are_not_outside():
    nlp = blank()
    cities = ["北京", "上海", "天津", "广州"]
    examples = [example(nlp, ["在", city, "。"], ["p", "ns", "w"]) for city in cities]
    for each in examples[:1]:
        each.reference.set_ents([Span(each.reference, 1, 2, "LOC")])
    for each in examples[1:]:  # the city is not annotated
        each.reference.set_ents([], outside=[each.reference[0:1]], default="missing")
    train(nlp, examples)
    for city in cities:
        assert [(e.text, e.label_) for e in nlp(f"在{city}。").ents] == [(city, "LOC")]


def test_an_entity_may_end_with_white_space():
    nlp = blank()
    examples = [example(nlp, ["在", "北京", " ", "。"], ["p", "ns", "", "w"])]
    examples[0].reference.set_ents([Span(examples[0].reference, 1, 3, "LOC")])
    train(nlp, examples)
    assert [(e.text, e.label_) for e in nlp("在北京 。").ents] == [("北京", "LOC")]

"""A small "lexical_analysis", and sentences to train it on."""

import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example

from .helpers import MODEL, train

SENTENCES = [
    ("张三 在 北京 。", "nr p ns w", [(0, 1, "PER"), (2, 3, "LOC")]),
    ("李四 爱 上海 银行 ！", "nr v ns n w", [(0, 1, "PER"), (2, 4, "ORG")]),
    ("他 去 北京", "r v ns", [(2, 3, "LOC")]),
    ("没有 人", "v n", []),
]
CONFIG = {"model": {**MODEL, "@architectures": "spacy-elmo.LexicalAnalyzer.v1"}}


def reference(nlp: Language, text: str, tags: str, entities) -> Doc:
    """A Doc of words, which spaces separate, with tags and entities."""
    words = text.split()
    doc = Doc(nlp.vocab, words=words, spaces=[False] * len(words), tags=tags.split())
    doc.set_ents([Span(doc, *entity) for entity in entities])
    return doc


def make_examples(nlp: Language) -> list[Example]:
    """The sentences as characters, and annotated."""
    docs = [reference(nlp, *sentence) for sentence in SENTENCES]
    return [Example(nlp.make_doc(doc.text), doc) for doc in docs]


def trained_analyzer() -> Language:
    """A pipeline that has learned the sentences."""
    nlp = spacy.blank("zh")
    nlp.add_pipe("lexical_analysis", config=CONFIG)
    train(nlp, make_examples(nlp))
    return nlp


def words(doc: Doc) -> list[str]:
    """The texts of the tokens."""
    return [token.text for token in doc]

"""Small pipelines with a CRF, and sentences to train them on."""

import numpy as np
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example

SENTENCES = [
    ("张三在北京。", [(0, 2, "PER"), (3, 5, "LOC")]),
    ("李四爱上海银行！", [(0, 2, "PER"), (3, 7, "ORG")]),
    ("去北京", [(1, 3, "LOC")]),
    ("没有人", []),
    ("京", [(0, 1, "LOC")]),
]
"""Text of characters, and entities as offsets."""

MODEL = {
    "@architectures": "spacy-elmo.CRFTagger.v1",
    "tok2vec": {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": {
            "@architectures": "spacy.MultiHashEmbed.v2",
            "width": 16,
            "attrs": ["NORM"],
            "rows": [200],
            "include_static_vectors": False,
        },
        "encode": {"@architectures": "spacy-elmo.BiLSTMEncoder.v1", "width": 24},
    },
}


def make_doc(nlp: Language, text: str, spans=(), *, spans_key=None) -> Doc:
    """A Doc of characters with spans as entities, or as a group of spans."""
    doc = Doc(nlp.vocab, words=list(text), spaces=[False] * len(text))
    found = [Span(doc, *span) for span in spans]
    if spans_key is None:
        doc.set_ents(found)
    else:
        doc.spans[spans_key] = found
    return doc


def make_examples(nlp: Language, *, spans_key=None) -> list[Example]:
    """The sentences, annotated."""
    return [
        Example(make_doc(nlp, text), make_doc(nlp, text, spans, spans_key=spans_key))
        for text, spans in SENTENCES
    ]


def train(nlp: Language, examples: list[Example], steps: int = 60, **kwargs) -> dict[str, float]:
    """Initialize and update. Returns the losses of the last step."""
    spacy.util.fix_random_seed(0)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.02
    losses: dict[str, float] = {}
    for _ in range(steps):
        losses = nlp.update(examples, sgd=optimizer, drop=0.1, **kwargs)
    return losses


def spans_of(doc: Doc) -> list[tuple[int, int, str]]:
    """The entities as tuples."""
    return [(span.start, span.end, span.label_) for span in doc.ents]


def random_table(n: int, width: int = 3) -> np.ndarray:
    """(n, width) vectors."""
    return np.random.default_rng(0).normal(size=(n, width)).astype("f")

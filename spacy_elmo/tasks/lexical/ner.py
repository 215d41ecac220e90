"""The component "crf_ner": named entities by a CRF over BIOES labels."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from spacy.attrs import ENT_IOB
from spacy.language import Language
from spacy.pipeline.ner import ner_score
from spacy.pipeline.spancat import spancat_score
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ...errors import ElmoError
from . import crf
from .component import CRFPipe, doc_list, same_tokens
from .labels import SpanLabels, SpanTuple
from .sequence import Constraints

INSIDE, BEGIN = 1, 3  # of spaCy's ENT_IOB; a blocked token is BEGIN without a type

DEFAULT_MODEL = """
[model]
@architectures = "spacy-elmo.CRFTagger.v1"

[model.tok2vec]
@architectures = "spacy.Tok2Vec.v2"

[model.tok2vec.embed]
@architectures = "spacy.MultiHashEmbed.v2"
width = 96
attrs = ["NORM", "PREFIX", "SUFFIX", "SHAPE"]
rows = [5000, 1000, 2500, 2500]
include_static_vectors = false

[model.tok2vec.encode]
@architectures = "spacy-elmo.BiLSTMEncoder.v1"
width = 300
"""


@Language.factory(
    "crf_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        "model": Config().from_str(DEFAULT_MODEL)["model"],
        "spans_key": None,
        "scorer": {"@scorers": "spacy.ner_scorer.v1"},
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_crf_ner(
    nlp: Language, name: str, model: Model[Any, Any], spans_key: str | None, scorer: Callable[..., Any] | None
) -> "CRFEntityRecognizer":
    """Create the component "crf_ner".

    model: List[Doc] -> List[Floats2d], a spacy-elmo.CRFTagger.v1. spans_key: learn from doc.spans[spans_key]
    and write to it, with probabilities in its attrs["scores"]; None: doc.ents. scorer: of doc.ents.
    """
    return CRFEntityRecognizer(nlp.vocab, model, name, spans_key=spans_key, scorer=scorer)


class CRFEntityRecognizer(CRFPipe):
    """Sets `doc.ents`, or a group of spans without overlap.

    Existing entities of a Doc are kept, and tokens that `doc.set_ents` has blocked get none.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[Any, Any],
        name: str = "crf_ner",
        *,
        spans_key: str | None = None,
        scorer: Callable[..., Any] | None = ner_score,
    ):
        super().__init__(vocab, model, name, scorer=scorer)
        self.spans_key = spans_key
        self._scheme = SpanLabels([])

    @property
    def scheme(self) -> SpanLabels:
        """BIOES labels of the entity labels."""
        if self._scheme.spans != self.labels:
            self._scheme = SpanLabels(self.labels)
        return self._scheme

    @property
    def label_names(self) -> Sequence[str]:
        """Return the names of the CRF's labels, by id."""
        return self.scheme.names

    def constraints(self) -> Constraints:
        """Return the constraints, see CRFPipe: a span begins, continues and ends with one label."""
        return self.scheme.constraints()

    def gold_labels(self, example: Example) -> np.ndarray:
        """Return the labels of an example, see CRFPipe.

        -1 for tokens without an aligned reference token, and for those that a span covers in part. Raises an
        ElmoError for spans that overlap.
        """
        if self.spans_key is not None:
            return self._labels_of_group(example, self.spans_key)
        reference = example.reference
        if reference.has_annotation("ENT_IOB", require_complete=True) and same_tokens(example):
            return self.scheme.encode_spans(map(_as_tuple, reference.ents), len(reference))
        return self.scheme.encode(example.get_aligned_ner())

    def _labels_of_group(self, example: Example, key: str) -> np.ndarray:
        reference, n_tokens = example.reference, len(example.predicted)
        if key not in reference.spans:
            return np.full(n_tokens, -1, dtype=np.int64)
        spans = _distinct_spans(reference.spans[key], key)
        if same_tokens(example):
            return self.scheme.encode_spans(map(_as_tuple, spans), n_tokens)
        aligned = [example.get_aligned_spans_y2x([span]) for span in spans]
        labels = self.scheme.encode_spans((_as_tuple(s) for found in aligned for s in found), n_tokens)
        for span, found in zip(spans, aligned, strict=True):
            if not found:
                labels[example.alignment.y2x[span.start : span.end]] = -1
        return labels

    def example_labels(self, example: Example) -> Iterable[str]:
        """Return the labels in an example, see CRFPipe."""
        return (span.label_ for span in self._spans(example.reference))

    def _spans(self, doc: Doc) -> Sequence[Span]:
        spans: Sequence[Span] = doc.ents if self.spans_key is None else doc.spans.get(self.spans_key, ())
        return spans

    def fixed_labels(self, doc: Doc) -> np.ndarray | None:
        """Return "O" for tokens of existing entities, which must be kept, and for blocked tokens."""
        if self.spans_key is not None:
            return None
        taken = np.isin(doc.to_array(ENT_IOB), (INSIDE, BEGIN))
        return np.where(taken, 0, -1) if taken.any() else None

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[np.ndarray]) -> None:
        """Set the spans of predicted labels."""
        docs = list(docs)
        found = [
            [Span(doc, *span) for span in self.scheme.decode(labels)]
            for doc, labels in zip(docs, scores, strict=True)
        ]
        if self.spans_key is None:
            for doc, spans in zip(docs, found, strict=True):
                blocked = [doc[t.i : t.i + 1] for t in doc if t.ent_iob == BEGIN and not t.ent_type]
                doc.set_ents([*doc.ents, *spans], blocked=blocked)
            return
        for doc, spans, each in zip(docs, found, self.probabilities(docs, found), strict=True):
            doc.spans[self.spans_key] = spans
            doc.spans[self.spans_key].attrs["scores"] = np.array(each, dtype=np.float32)

    def probabilities(
        self, docs: Iterable[Doc], spans: Sequence[Sequence[Span]] | None = None
    ) -> list[list[float]]:
        """Return the probability of each span of each Doc, with its label.

        It is 0.0 for a label that the model lacks, as an entity of another component may have. spans: None
        for doc.ents, or the group of spans. Raises an ElmoError for spans that are empty or not in their Doc,
        and for a Doc instead of docs.
        """
        docs = doc_list(docs)
        spans = [self._spans(doc) for doc in docs] if spans is None else spans
        for doc, doc_spans in zip(docs, spans, strict=True):
            for span in doc_spans:
                if not 0 <= span.start < span.end <= len(doc):
                    raise ElmoError(
                        f"The span [{span.start}:{span.end}] has no probability, because it is empty or not "
                        f"inside its Doc of {len(doc)} tokens: give spans with at least one token of the Doc."
                    )
        packing, lattice = self.lattice(docs)
        first = np.cumsum(packing.lengths) - packing.lengths
        return [
            [
                crf.path_probability(
                    lattice,
                    packing.rows[begin + span.start : begin + span.end],
                    self.scheme.encode_spans([(0, len(span), span.label_)], len(span)),
                )
                if span.label_ in self.labels
                else 0.0
                for span in doc_spans
            ]
            for begin, doc_spans in zip(first, spans, strict=True)
        ]

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score doc.ents with the scorer, or the group of spans as spancat does."""
        if self.spans_key is None:
            scores: dict[str, Any] = super().score(examples, **kwargs)
            return scores
        return spancat_score(examples, spans_key=self.spans_key, **kwargs)


def _distinct_spans(spans: Iterable[Span], key: str) -> list[Span]:
    """Return the spans of a group in order, each once, without empty ones. Raises an ElmoError."""
    found = sorted({_as_tuple(span): span for span in spans if len(span)}.values(), key=_as_tuple)
    for a, b in pairwise(found):
        if b.start < a.end:
            raise ElmoError(
                f'{a.text!r} ({a.label_}) and {b.text!r} ({b.label_}) in doc.spans["{key}"] overlap, but a '
                "CRF gives each token one label: remove one of them, or train spaCy's spancat instead."
            )
    return found


def _as_tuple(span: Span) -> SpanTuple:
    return span.start, span.end, span.label_

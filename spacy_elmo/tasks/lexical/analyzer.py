"""The component "lexical_analysis": finds words, tags and entities in characters; returns a Doc of words."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, cast

import numpy as np
from spacy import util
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ...errors import ElmoError
from .analyzer_gold import (
    Gold,
    Matches,
    apply_dictionary,
    dictionary_words,
    fixed_labels,
    gold_of,
    score_words,
    with_spaces,
)
from .analyzer_model import HEADS, add_gradient, word_vectors
from .checked_pipe import CheckedPipe
from .component import INIT_EXAMPLES
from .crf_layer import check_size, set_labels
from .dictionary import Dictionary, Entry, Word, read_dictionary, read_entries
from .labels import SpanLabels, check_labels
from .segmentation import Spans, forbid_cuts, labels_of, segment_constraints, visible_runs, words_of
from .sequence import Constraints, best_labels, predict_in_batches, sequence_loss
from .words import merge_tokens


class Analysis(NamedTuple):
    """Prediction for a Doc: words as spans of its tokens, including white space, and their labels."""

    words: Spans
    tags: list[str]
    entities: list[tuple[int, int, str]]
    """First word, word after the last, label."""


class LexicalAnalyzer(CheckedPipe):
    """Segments a Doc of characters into words, tags them and finds entities; returns a new Doc of words.

    Three CRFs share one encoder: BMES labels of characters, then tags and BIOES labels of the words found.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[Any, Any],
        name: str = "lexical_analysis",
        *,
        dictionary: Iterable[Word] = (),
    ):
        self.vocab = vocab
        self.model = model
        self.name = name
        self.cfg: dict[str, Any] = {"tags": [], "entities": [], "dictionary": []}
        self._upstream: list[TrainablePipe] = []
        self._dictionary = Dictionary()
        self.add_words(dictionary)

    def add_upstream(self, component: TrainablePipe) -> None:
        """Add a component "elmo" that runs before: it computes static vectors. The last of a name counts."""
        others = [each for each in self._upstream if each is not component and each.name != component.name]
        self._upstream = [*others, component]

    # --- Labels and words ---

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the tags, then of the entity labels."""
        return (*self.cfg["tags"], *self.cfg["entities"])

    @property
    def label_data(self) -> dict[str, list[str]]:
        """Labels for [initialize], see `spacy init labels`."""
        return {kind: list(self.cfg[kind]) for kind in ("tags", "entities")}

    @property
    def dictionary(self) -> list[Entry]:
        """Words that are kept whole."""
        return self._dictionary.entries

    def add_words(self, words: Iterable[Word]) -> None:
        """Add words to keep whole from now on. They are saved with the pipeline.

        words: strings, or tuples of the word, its tag and the label of its entity; None: the model decides.
        The longest match from the left wins. Raises an ElmoError for an invalid word.
        """
        self._dictionary = Dictionary([*self._dictionary.entries, *read_entries(words)])
        self.cfg["dictionary"] = [list(entry) for entry in self._dictionary.entries]

    def constraints(self) -> dict[str, Constraints]:
        """Return the transition constraints of each head."""
        n = len(self.cfg["tags"])
        free = np.zeros((n, n), "f"), np.zeros(n, "f"), np.zeros(n, "f")
        entities = SpanLabels(self.cfg["entities"]).constraints()
        return dict(zip(HEADS, (segment_constraints(), free, entities), strict=True))

    # --- Prediction ---

    def __call__(self, doc: Doc) -> Doc:
        """Analyze one Doc; return a new one."""
        error_handler = self.get_error_handler()
        try:
            return self._words_of([doc])[0]
        except Exception as error:
            error_handler(self.name, self, [doc], error)
            raise

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Analyze docs in batches; yield new ones in the same order."""
        error_handler = self.get_error_handler()
        for docs in util.minibatch(stream, size=batch_size):
            try:
                yield from self._words_of(docs)
            except Exception as error:
                error_handler(self.name, self, docs, error)

    def _words_of(self, docs: Sequence[Doc]) -> list[Doc]:
        analyses = self.predict(docs)
        return [self._build(doc, analysis) for doc, analysis in zip(docs, analyses, strict=True)]

    def predict(self, docs: Iterable[Doc]) -> list[Analysis]:
        """Return words, tags and entities of docs of characters."""
        docs = list(docs)
        if not any(len(doc) for doc in docs):
            return [Analysis([], [], []) for _ in docs]
        vectors = predict_in_batches(self.model.get_ref("tok2vec"), docs)
        matches = [dictionary_words(self._dictionary, doc) for doc in docs]
        words = self._predict_words(docs, vectors, matches)
        tags, entities = self._predict_labels(vectors, words, matches)
        return [Analysis(*with_spaces(*each)) for each in zip(docs, words, tags, entities, strict=True)]

    def _predict_words(
        self, docs: Sequence[Doc], vectors: Sequence[Floats2d], matches: Sequence[Matches]
    ) -> list[Spans]:
        layer, ops = self.model.get_ref("segment"), cast(Any, self.model.ops)
        scores = layer.predict(list(vectors))
        runs = [(i, start, end) for i, doc in enumerate(docs) for start, end in visible_runs(doc)]
        fixed = [
            labels_of(list(doc_matches), len(doc)) for doc_matches, doc in zip(matches, docs, strict=True)
        ]
        kept = [forbid_cuts(*each) for each in zip(docs, map(ops.to_numpy, scores), strict=True)]
        labels = best_labels(
            layer,
            [ops.asarray2f(kept[i][start:end]) for i, start, end in runs],
            segment_constraints(),
            [fixed[i][start:end] if matches[i] else None for i, start, end in runs],
        )
        words: list[Spans] = [[] for _ in docs]
        for (i, start, _), ids in zip(runs, labels, strict=True):
            words[i] += words_of(ids, start)
        return words

    def _predict_labels(
        self, vectors: Sequence[Floats2d], words: Sequence[Spans], matches: Sequence[Matches]
    ) -> tuple[list[list[str]], list[list[tuple[int, int, str]]]]:
        X = [word_vectors(H, doc_words) for H, doc_words in zip(vectors, words, strict=True)]
        constraints, scheme = self.constraints(), SpanLabels(self.cfg["entities"])
        found = {}
        for head, names in (("tag", self.cfg["tags"]), ("entity", list(scheme.names))):
            layer = self.model.get_ref(head)
            fixed = [
                fixed_labels(doc_matches, spans, names, entities=head == "entity")
                for doc_matches, spans in zip(matches, words, strict=True)
            ]
            found[head] = best_labels(layer, layer.predict(X), constraints[head], fixed)
        tags = [[self.cfg["tags"][i] for i in ids] for ids in found["tag"]]
        entities = [scheme.decode(ids) for ids in found["entity"]]
        for each in zip(matches, words, tags, entities, strict=True):
            apply_dictionary(*each)
        return tags, entities

    def _build(self, doc: Doc, analysis: Analysis) -> Doc:
        merged = merge_tokens(doc, analysis.words, self._upstream)
        for token, tag in zip(merged, analysis.tags, strict=True):
            token.tag_ = tag
        merged.set_ents([Span(merged, *entity) for entity in analysis.entities])
        return merged

    # --- Training ---

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: dict[str, Sequence[str]] | None = None,
        dictionary_path: str | None = None,
    ) -> None:
        """Collect the labels of the examples, unless `labels` are given, and initialize the model.

        A second initialization replaces the labels and draws all weights again, but keeps the dictionary.
        labels: as label_data. dictionary_path: see read_dictionary. Raises an ElmoError for invalid ones.
        """
        validate_get_examples(get_examples, "LexicalAnalyzer.initialize")
        if labels is None:
            docs = [example.reference for example in get_examples()]
            tags = sorted({token.tag_ for doc in docs for token in doc if token.tag_})
            labels = {"tags": tags, "entities": sorted({span.label_ for doc in docs for span in doc.ents})}
        if not isinstance(labels, dict) or set(labels) != {"tags", "entities"}:
            raise ElmoError(
                f'"{self.name}" has no such labels as {labels!r}: give {{"tags": [...], "entities": [...]}}.'
            )
        names = {kind: check_labels(each) for kind, each in labels.items()}
        if not names["tags"]:
            raise ValueError(f'The examples have no tags for "{self.name}": give tokens with token.tag.')
        if dictionary_path is not None:
            self.add_words(read_dictionary(dictionary_path))
        self.cfg.update(names)
        for label in self.labels:
            self.vocab.strings.add(label)
        for head, constraints in self.constraints().items():
            set_labels(self.model, self.model.get_ref(head), len(constraints[1]))
        self.model.initialize(X=[example.x for example in islice(get_examples(), INIT_EXAMPLES)])

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Train on a batch: the summed negative log-likelihood of words, tags and entities."""
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "LexicalAnalyzer.update")
        if not any(len(example.predicted) for example in examples):
            return losses
        set_dropout_rate(self.model, drop)
        gold = [gold_of(each, self.cfg["tags"], SpanLabels(self.cfg["entities"])) for each in examples]
        tok2vec = self.model.get_ref("tok2vec")
        H, backprop = tok2vec.begin_update([example.predicted for example in examples])
        dH = [self.model.ops.xp.zeros_like(h) for h in H]
        losses[self.name] += self._update_segments(H, dH, gold) + self._update_words(H, dH, gold)
        backprop(dH)
        if sgd is not None:
            self.finish_update(sgd)
        return losses

    def _update_segments(self, H: Sequence[Floats2d], dH: Sequence[Floats2d], gold: Sequence[Gold]) -> float:
        layer = self.model.get_ref("segment")
        scores, backprop = layer.begin_update(list(H))
        runs = [(i, start, end) for i, each in enumerate(gold) for start, end in each.runs]
        loss, found = sequence_loss(
            layer,
            [scores[i][start:end] for i, start, end in runs],
            [gold[i].segments[start:end] for i, start, end in runs],
            segment_constraints(),
        )
        d_scores = [self.model.ops.xp.zeros_like(each) for each in scores]
        for (i, start, end), each in zip(runs, found, strict=True):
            d_scores[i][start:end] = each
        for total, each in zip(dH, backprop(d_scores), strict=True):
            total += each
        return loss

    def _update_words(self, H: Sequence[Floats2d], dH: Sequence[Floats2d], gold: Sequence[Gold]) -> float:
        X = [word_vectors(h, each.words) for h, each in zip(H, gold, strict=True)]
        constraints, loss = self.constraints(), 0.0
        for head, labels in (("tag", [g.tags for g in gold]), ("entity", [g.entities for g in gold])):
            layer = self.model.get_ref(head)
            scores, backprop = layer.begin_update(X)
            head_loss, d_scores = sequence_loss(layer, scores, labels, constraints[head])
            loss += head_loss
            for total, dX, each in zip(dH, backprop(d_scores), gold, strict=True):
                add_gradient(total, dX, each.words)
        return loss

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score words, their tags and entities, see score_words."""
        return score_words(examples)

    # --- Serialization ---

    def finish_loading(self, *, complete: bool) -> None:
        """Check labels, weights and dictionary, see CheckedPipe."""
        self._dictionary = Dictionary(read_entries(self.cfg["dictionary"]))
        if complete:
            self.cfg.update({kind: check_labels(self.cfg[kind]) for kind in ("tags", "entities")})
            for head, constraints in self.constraints().items():
                check_size(self.model.get_ref(head), len(constraints[1]), self.name)

"""Shared base of the components with a CRF, for named entities and tags."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d

from ...errors import ElmoError
from . import crf
from .checked_pipe import CheckedPipe
from .crf import Lattice, Packing
from .crf_layer import check_size, set_labels
from .labels import check_labels
from .sequence import (
    Constraints,
    best_labels,
    check_scores,
    potentials_with,
    predict_in_batches,
    sequence_loss,
)

INIT_EXAMPLES = 10  # from which the model infers its dimensions


class CRFPipe(CheckedPipe):
    """Component that labels each token, with the labels of a Doc as one sequence.

    A subclass defines the labels (`label_names`, `constraints`), the labels of an example (`gold_labels`),
    and the use of predicted ones (`set_annotations`). model: List[Doc] -> List[Floats2d (n_tokens,
    n_labels)], with a reference "crf" to its CRFLayer.
    """

    def __init__(self, vocab: Vocab, model: Model[Any, Any], name: str, *, scorer: Callable[..., Any] | None):
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: dict[str, Any] = {"labels": []}
        self._collected: list[str] = []  # labels of the last initialization

    # --- What a subclass says ---

    @property
    def label_names(self) -> Sequence[str]:
        """Return the names of the CRF's labels, by id."""
        raise NotImplementedError

    def constraints(self) -> Constraints:
        """Return scores of transitions (L, L), first labels (L,) and last labels (L,): 0 or crf.FORBIDDEN."""
        raise NotImplementedError

    def gold_labels(self, example: Example) -> np.ndarray:
        """Return label ids (n_tokens,) for the predicted Doc's tokens, -1 for missing annotation."""
        raise NotImplementedError

    def example_labels(self, example: Example) -> Iterable[str]:
        """Return the labels in an example's reference, as `add_label` takes them."""
        raise NotImplementedError

    def fixed_labels(self, doc: Doc) -> np.ndarray | None:
        """Return label ids (n_tokens,) that a prediction must keep, -1 for free tokens; None: all free."""
        return None

    # --- Labels ---

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the component, in order."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """Labels for [initialize], see `spacy init labels`."""
        return list(self.labels)

    def add_label(self, label: str) -> int:
        """Add a label before the initialization; return whether it is new. Raises a ValueError later."""
        if not isinstance(label, str) or not label:
            raise ElmoError(f"{label!r} is not a label: give a name.")
        if label in self.labels:
            return 0
        if self.model.get_ref("crf").has_dim("nO"):
            raise ValueError(
                f'"{self.name}" is initialized with {len(self.labels)} labels and accepts no more: '
                f'add "{label}" before nlp.initialize().'
            )
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1

    # --- Prediction ---

    def predict(self, docs: Iterable[Doc]) -> list[np.ndarray]:
        """Return the best labels of each Doc's tokens: (n_tokens,) label ids."""
        docs = list(docs)
        if not any(len(doc) for doc in docs):
            return [np.zeros(0, dtype=np.int64) for _ in docs]
        fixed = [self.fixed_labels(doc) for doc in docs]
        return best_labels(self.layer, predict_in_batches(self.model, docs), self.constraints(), fixed)

    def marginals(self, docs: Iterable[Doc]) -> list[np.ndarray]:
        """Return the probability of each label at each token: (n_tokens, n_labels) float64.

        Fixed labels are ignored. Raises an ElmoError for a Doc instead of docs.
        """
        docs = doc_list(docs)
        packing, lattice = self.lattice(docs)
        found = packing.unpack(lattice.alpha * lattice.beta, self.model.ops.xp)
        return [self.model.ops.to_numpy(part) for part in found]

    def lattice(self, docs: Sequence[Doc]) -> tuple[Packing, Lattice]:
        """Return the probabilities of all label sequences of some docs, see crf.Lattice."""
        xp = self.model.ops.xp
        packing = Packing([len(doc) for doc in docs])
        scores = predict_in_batches(self.model, docs) if packing.n_tokens else []
        packed = packing.pack([*scores, xp.zeros((0, len(self.label_names)), dtype="f")], xp)
        check_scores(packed, xp)
        return packing, crf.forward_backward(
            packed, packing, potentials_with(self.layer, self.constraints()), xp
        )

    @property
    def layer(self) -> Model[Any, Any]:
        """CRFLayer of the model."""
        return self.model.get_ref("crf")

    # --- Training ---

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Collect the labels of the examples, unless `labels` are given, and initialize the model.

        They are added to those of `add_label` and of a loaded pipeline, and replace those that an earlier
        initialization of this object added. All weights are drawn again. Raises an ElmoError for `labels`
        that are not names.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        if labels is None:
            labels = sorted({label for e in get_examples() for label in self.example_labels(e)})
        kept = [label for label in self.labels if label not in self._collected]
        found = list(dict.fromkeys([*kept, *check_labels(labels)]))
        if not found:
            raise ValueError(f'The examples have no labels for "{self.name}": give annotated examples.')
        self.cfg["labels"], self._collected = found, found[len(kept) :]
        for label in found:
            self.vocab.strings.add(label)
        docs = [example.x for example in islice(get_examples(), INIT_EXAMPLES)]
        set_labels(self.model, self.layer, len(self.label_names))
        self.model.initialize(X=docs)

    def get_loss(
        self, examples: Iterable[Example], scores: Sequence[Floats2d]
    ) -> tuple[float, list[Floats2d]]:
        """Compute the loss and its gradient with respect to the scores, see sequence_loss."""
        gold = [self.gold_labels(example) for example in examples]
        return sequence_loss(self.layer, scores, gold, self.constraints())

    # --- Serialization ---

    def finish_loading(self, *, complete: bool) -> None:
        """Check labels and weights, see CheckedPipe."""
        if complete:
            self.cfg["labels"] = check_labels(self.cfg["labels"])
            check_size(self.layer, len(self.label_names), self.name)


def doc_list(docs: Iterable[Doc]) -> list[Doc]:
    """Return a list of docs. Raises an ElmoError for a single Doc, which is an iterable of tokens."""
    if isinstance(docs, Doc):
        raise ElmoError("A single Doc was given instead of a list of docs: give [doc].")
    return list(docs)


def same_tokens(example: Example) -> bool:
    """Return whether both docs of an example have the same tokens, faster than spaCy's alignment."""
    attrs: list[str | int] = ["ORTH", "SPACY"]
    return np.array_equal(example.predicted.to_array(attrs), example.reference.to_array(attrs))

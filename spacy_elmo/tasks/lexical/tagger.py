"""The component "crf_tagger": part-of-speech tags by a CRF, one label per token."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.pipeline.tagger import tagger_score
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model

from .component import CRFPipe, same_tokens
from .ner import DEFAULT_MODEL
from .sequence import Constraints


@Language.factory(
    "crf_tagger",
    assigns=["token.tag"],
    default_config={
        "model": Config().from_str(DEFAULT_MODEL)["model"],
        "overwrite": False,
        "scorer": {"@scorers": "spacy.tagger_scorer.v1"},
    },
    default_score_weights={"tag_acc": 1.0},
)
def make_crf_tagger(
    nlp: Language, name: str, model: Model[Any, Any], overwrite: bool, scorer: Callable[..., Any] | None
) -> "CRFTagger":
    """Create the component "crf_tagger".

    model: List[Doc] -> List[Floats2d], a spacy-elmo.CRFTagger.v1. overwrite: replace existing tags.
    """
    return CRFTagger(nlp.vocab, model, name, overwrite=overwrite, scorer=scorer)


class CRFTagger(CRFPipe):
    """Sets `token.tag`. Existing tags of a Doc guide those of other tokens, unless `overwrite`."""

    def __init__(
        self,
        vocab: Vocab,
        model: Model[Any, Any],
        name: str = "crf_tagger",
        *,
        overwrite: bool = False,
        scorer: Callable[..., Any] | None = tagger_score,
    ):
        super().__init__(vocab, model, name, scorer=scorer)
        self.overwrite = overwrite

    @property
    def label_names(self) -> Sequence[str]:
        """Return the tags, by id."""
        return self.labels

    def constraints(self) -> Constraints:
        """Return the constraints, see CRFPipe: any tag may follow any other."""
        n = len(self.labels)
        return np.zeros((n, n), "f"), np.zeros(n, "f"), np.zeros(n, "f")

    def gold_labels(self, example: Example) -> np.ndarray:
        """Return the labels of an example, see CRFPipe."""
        ids = {label: i for i, label in enumerate(self.labels)}
        if same_tokens(example):
            tags: Iterable[str | None] = (token.tag_ for token in example.reference)
        else:
            tags = example.get_aligned("TAG", as_string=True)
        return np.array([ids.get(tag or "", -1) for tag in tags], dtype=np.int64)

    def example_labels(self, example: Example) -> Iterable[str]:
        """Return the labels in an example, see CRFPipe."""
        return (token.tag_ for token in example.reference if token.tag_)

    def fixed_labels(self, doc: Doc) -> np.ndarray | None:
        """Return the existing tags, unless they are overwritten or unknown."""
        if self.overwrite or not doc.has_annotation("TAG"):
            return None
        ids = {label: i for i, label in enumerate(self.labels)}
        return np.array([ids.get(token.tag_, -1) for token in doc], dtype=np.int64)

    def set_annotations(self, docs: Iterable[Doc], scores: Sequence[np.ndarray]) -> None:
        """Set the predicted tags."""
        hashes = [self.vocab.strings.add(label) for label in self.labels]
        for doc, labels in zip(docs, scores, strict=True):
            for token, label in zip(doc, labels.tolist(), strict=True):
                if self.overwrite or not token.tag:
                    token.tag = hashes[label]

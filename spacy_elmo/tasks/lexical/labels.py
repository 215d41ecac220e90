"""BIOES labels of spans: transition constraints, and conversion between spans and label ids."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ...errors import ElmoError
from .crf import FORBIDDEN

OUTSIDE = "O"
PREFIXES = ("B", "I", "E", "S")
"""The first token of a span, one within, the last, and the only one."""
SPACY_PREFIXES = {"B": "B", "I": "I", "L": "E", "U": "S"}
"""Their names in spaCy (BILUO)."""

SpanTuple = tuple[int, int, str]
"""First token, token after the last, label."""


def check_labels(labels: object) -> list[str]:
    """Return the different names in a list of labels. Raises an ElmoError for anything but names."""
    known = isinstance(labels, Iterable) and not isinstance(labels, str | Mapping)
    names = list(labels) if isinstance(labels, Iterable) else []
    if not known or not all(isinstance(name, str) and name for name in names):
        raise ElmoError(f"{labels!r} are not labels: give a list of names.")
    return list(dict.fromkeys(names))


class SpanLabels:
    """The BIOES labels of some span labels, as ids: "O" is 0, then B, I, E, S of each.

    spans: the span labels, in order.
    """

    def __init__(self, spans: Sequence[str]):
        self.spans = tuple(spans)
        self.names = (OUTSIDE, *(f"{prefix}-{label}" for label in spans for prefix in PREFIXES))
        self._ids = {name: i for i, name in enumerate(self.names)}
        self._first = {label: 1 + i * len(PREFIXES) for i, label in enumerate(spans)}

    def __len__(self) -> int:
        return len(self.names)

    def constraints(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return constraints of transitions (L, L), first labels and last labels (L,): 0 or FORBIDDEN."""
        kinds = [name[0] for name in self.names]
        labels = [name[2:] for name in self.names]
        opens = np.array([kind in "BI" for kind in kinds])  # the span continues
        continues = np.array([kind in "IE" for kind in kinds])
        same = np.array(labels)[:, None] == np.array(labels)
        allowed = np.where(opens[:, None], continues & same, ~continues)
        follow, first, last = (
            np.where(each, 0.0, FORBIDDEN).astype("f") for each in (allowed, ~continues, ~opens)
        )
        return follow, first, last

    def encode(self, biluo: Iterable[str | None]) -> np.ndarray:
        """Convert tags of tokens, as spaCy gives them, to label ids (n,); -1 for missing and unknown tags.

        Neighbours that must not follow one another, as where tokens do not align, become -1 too.
        """
        ids = np.array([self._id(tag) for tag in biluo], dtype=np.int64)
        follow, start, end = self.constraints()
        known = (ids[:-1] >= 0) & (ids[1:] >= 0)
        wrong = known & (follow[ids[:-1], ids[1:]] < 0)
        ids[:-1][wrong] = ids[1:][wrong] = -1
        if len(ids) and ids[0] >= 0 and start[ids[0]] < 0:
            ids[0] = -1
        if len(ids) and ids[-1] >= 0 and end[ids[-1]] < 0:
            ids[-1] = -1
        return ids

    def encode_spans(self, spans: Iterable[SpanTuple], n_tokens: int) -> np.ndarray:
        """Convert spans without overlap to label ids (n_tokens,), -1 for spans of unknown labels.

        Tokens outside spans get "O".
        """
        ids = np.zeros(n_tokens, dtype=np.int64)
        for start, end, label in spans:
            if label not in self._first:
                ids[start:end] = -1
                continue
            first = self._first[label]
            ids[start:end] = first + PREFIXES.index("I")
            ids[end - 1] = first + PREFIXES.index("E")
            ids[start] = first + PREFIXES.index("B" if end - start > 1 else "S")
        return ids

    def decode(self, ids: Iterable[int]) -> list[SpanTuple]:
        """Convert label ids of a sequence that satisfies the constraints to spans, in order."""
        spans, start = [], 0
        for i, label in enumerate(ids):
            if label == 0:
                continue
            which, kind = divmod(int(label) - 1, len(PREFIXES))
            if PREFIXES[kind] in "BS":
                start = i
            if PREFIXES[kind] in "ES":
                spans.append((start, i + 1, self.spans[which]))
        return spans

    def _id(self, tag: str | None) -> int:
        if tag is None or tag == "-":
            return -1
        prefix, _, label = tag.partition("-")
        name = f"{SPACY_PREFIXES[prefix]}-{label}" if label else tag
        return self._ids.get(name, -1)

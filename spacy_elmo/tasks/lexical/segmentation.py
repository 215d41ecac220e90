"""Convert between words and BMES labels of their tokens: begin, middle, end, single."""

from typing import NamedTuple

import numpy as np
from spacy.attrs import IDX, IS_SPACE, LENGTH, SPACY
from spacy.tokens import Doc
from spacy.training import Example

from ...errors import ElmoError
from .crf import FORBIDDEN
from .sequence import Constraints
from .whole_runs import inside_runs

BEGIN, MIDDLE, END, SINGLE = range(4)

Spans = list[tuple[int, int]]
"""First token and token after the last of each."""


def segment_constraints() -> Constraints:
    """Return the constraints of BMES labels: 0 or FORBIDDEN."""
    opens = np.array([True, True, False, False])  # a word continues after B and M
    continues = np.array([False, True, True, False])
    allowed = opens[:, None] == continues
    follow, first, last = (np.where(a, 0.0, FORBIDDEN).astype("f") for a in (allowed, ~continues, ~opens))
    return follow, first, last


def visible_runs(doc: Doc) -> Spans:
    """Return runs of tokens without white space in or between them, in order: no word crosses their ends."""
    flags = doc.to_array([IS_SPACE, SPACY]).reshape(-1, 2).astype(bool)
    if not flags.any():
        return [(0, len(doc))] if len(doc) else []
    space, followed = flags.T
    # A run continues to the next token if neither is white space and none lies between them.
    goes_on = ~space[:-1] & ~space[1:] & ~followed[:-1]
    starts = np.flatnonzero(~space & np.append(True, ~goes_on))
    ends = np.flatnonzero(~space & np.append(~goes_on, True)) + 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def words_of(labels: np.ndarray, start: int = 0) -> Spans:
    """Return the words of BMES label ids of a run of tokens that begins at `start`."""
    ends = np.flatnonzero((labels == END) | (labels == SINGLE)) + 1
    begins = np.concatenate([[0], ends[:-1]]).astype(np.int64) if len(ends) else ends
    return list(zip((begins + start).tolist(), (ends + start).tolist(), strict=True))


def labels_of(words: Spans, n_tokens: int) -> np.ndarray:
    """Return the BMES label ids of words, (n_tokens,), -1 for tokens in no word."""
    labels = np.full(n_tokens, -1, dtype=np.int64)
    for start, end in words:
        labels[start:end] = MIDDLE
        labels[start], labels[end - 1] = BEGIN, END
        if end - start == 1:
            labels[start] = SINGLE
    return labels


def forbid_cuts(doc: Doc, scores: np.ndarray) -> np.ndarray:
    """Return scores of BMES labels (n_tokens, 4) with which no run is split, see whole_runs."""
    inside = inside_runs(doc.text)
    if not inside.any():
        return scores
    before = np.flatnonzero(inside[doc.to_array(IDX).astype(np.int64)[1:]])
    scores = scores.copy()
    scores[before[:, None], [END, SINGLE]] = FORBIDDEN
    scores[before[:, None] + 1, [BEGIN, SINGLE]] = FORBIDDEN
    return scores


class GoldWords(NamedTuple):
    """The words of a reference in the tokens of the predicted Doc."""

    words: Spans
    """Words that consist of whole tokens of the predicted Doc."""
    tokens: list[int]
    """Token in the reference, for each word."""
    complete: bool
    """Whether all words of the reference are in `words`, so that they are a sequence."""


def gold_words(example: Example) -> GoldWords:
    """Find the words of an example's reference in its predicted Doc; white space does not count.

    Raises an ElmoError if the texts of both differ in more than white space and capitals, or if the text has
    a space after each word only because the spaces are unknown.
    """
    _check_texts(example)
    _check_spaces(example)
    starts, ends = _visible_offsets(example.predicted)
    first = {offset: i for i, offset in enumerate(starts) if ends[i] > offset}
    last = {offset: i + 1 for i, offset in enumerate(ends) if offset > starts[i]}
    words, tokens, visible = [], [], 0
    for i, (start, end) in enumerate(zip(*_visible_offsets(example.reference), strict=True)):
        if end == start:
            continue
        visible += 1
        if start in first and end in last:
            words.append((first[start], last[end]))
            tokens.append(i)
    return GoldWords(words, tokens, len(words) == visible)


def crosses_space(words: Spans, runs: Spans) -> np.ndarray:
    """Return whether each word has white space inside, (n_words,). runs: those of visible_runs."""
    ends = np.array([end for _, end in runs], dtype=np.int64)
    first, last = np.array(words, dtype=np.int64).reshape(-1, 2).T
    crossed: np.ndarray = np.searchsorted(ends, first, "right") != np.searchsorted(ends, last - 1, "right")
    return crossed


def _visible_offsets(doc: Doc) -> tuple[list[int], list[int]]:
    """Return the offsets of each token in the text without white space; white-space tokens are empty."""
    lengths = doc.to_array(LENGTH).astype(np.int64)
    if _visible(doc.text) != doc.text:
        lengths = np.array([len(_visible(token.text)) for token in doc], dtype=np.int64)
    ends = np.cumsum(lengths)
    return (ends - lengths).tolist(), ends.tolist()


def _check_texts(example: Example) -> None:
    texts = _visible(example.predicted.text), _visible(example.reference.text)
    predicted, reference = (text.lower() for text in texts)
    if texts[0] != texts[1] and (predicted != reference or len(texts[0]) != len(texts[1])):
        pairs = enumerate(zip(predicted, reference, strict=False))
        place = next((i for i, (a, b) in pairs if a != b), min(map(len, texts)))
        a, b = (text[max(0, place - 10) : place + 10] for text in texts)
        raise ElmoError(
            f"The docs of an example have different texts, {a!r} and in the reference {b!r}: give both the "
            "same text, apart from white space and capitals."
        )


def _check_spaces(example: Example) -> None:
    """Refuse spaces that spaCy has made up: they would give the words away, and raw text lacks them."""
    reference = example.reference
    if reference.has_unknown_spaces and len(reference) > 1 and example.predicted.text == reference.text:
        raise ElmoError(
            f"No words can be learned from {reference.text[:20]!r}, because it has a space after each word: "
            "make the Doc of words with `spaces`, which says after which words the text has one."
        )


def _visible(text: str) -> str:
    return "".join(text.split())

"""Training targets, dictionary constraints and scores of the lexical analyzer."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from spacy.scorer import Scorer, get_ner_prf
from spacy.tokens import Doc
from spacy.training import Example

from .dictionary import Dictionary, Entry
from .labels import SpanLabels, SpanTuple
from .segmentation import Spans, crosses_space, gold_words, labels_of, visible_runs

Matches = dict[tuple[int, int], Entry]
"""The dictionary's words in a Doc, by first token and token after the last."""


class Gold(NamedTuple):
    """The annotation of an example in tokens of its predicted Doc."""

    runs: Spans
    """Runs of tokens without white space, see segmentation.visible_runs."""
    segments: np.ndarray
    """(n_tokens,) BMES ids, -1 unknown"""
    words: Spans
    """Empty where not all words of the reference are tokens or groups of tokens"""
    tags: np.ndarray
    """(n_words,) ids, -1 unknown"""
    entities: np.ndarray
    """(n_words,) BIOES ids, -1 unknown"""


def gold_of(example: Example, tags: Sequence[str], scheme: SpanLabels) -> Gold:
    """Read an example's annotation. tags: names of tags by id. scheme: the entity labels."""
    words, tokens, complete = gold_words(example)
    reference, predicted = example.reference, example.predicted
    runs = visible_runs(predicted)
    crossing = crosses_space(words, runs)
    segments = labels_of(words, len(predicted))
    for (start, end), crossed in zip(words, crossing, strict=True):
        if crossed:  # no prediction has such a word
            segments[start:end] = -1
    if not complete:
        words, tokens, crossing = [], [], crossing[:0]
    ids = {tag: i for i, tag in enumerate(tags)}
    tag_ids = np.array([ids.get(reference[i].tag_, -1) for i in tokens], dtype=np.int64)
    entities = scheme.encode_spans(_entities(reference, tokens), len(words))
    entities[[reference[i].ent_iob == 0 for i in tokens]] = -1  # not annotated
    tag_ids[crossing] = entities[crossing] = -1
    return Gold(runs, segments, words, tag_ids, entities)


def _entities(reference: Doc, tokens: Sequence[int]) -> list[SpanTuple]:
    """Return the entities of a reference in words. tokens: that of each word; white space has none."""
    position = {token: word for word, token in enumerate(tokens)}
    spans = [
        ([position[i] for i in range(entity.start, entity.end) if i in position], entity.label_)
        for entity in reference.ents
    ]
    return [(inside[0], inside[-1] + 1, label) for inside, label in spans if inside]


def dictionary_words(dictionary: Dictionary, doc: Doc) -> Matches:
    """Find the words of the dictionary in a Doc that consist of whole tokens."""
    if not len(dictionary):
        return {}
    first = {token.idx: token.i for token in doc}
    last = {token.idx + len(token): token.i + 1 for token in doc}
    return {
        (first[start], last[end]): entry
        for start, end, entry in dictionary.find(doc.text)
        if start in first and end in last
    }


def fixed_labels(
    matches: Matches, words: Spans, names: Sequence[str], *, entities: bool
) -> np.ndarray | None:
    """Return the label ids that a dictionary gives to words: (n_words,), -1 for free words.

    Return None if all words are free. names: names of the labels by id. entities: whether the labels are
    BIOES labels; otherwise they are tags.
    """
    if not matches:
        return None
    ids = {name: i for i, name in enumerate(names)}
    found = np.full(len(words), -1, dtype=np.int64)
    for i, span in enumerate(words):
        entry = matches.get(span)
        if entry is not None:
            label = entry.tag if not entities else entry.entity and f"S-{entry.entity}"
            unknown = 0 if entities and label else -1  # outside the model's entities
            found[i] = ids.get(label or "", unknown)
    return found


def apply_dictionary(
    matches: Matches, words: Spans, tags: list[str], entities: list[tuple[int, int, str]]
) -> None:
    """Replace predicted tags and entities by those of the dictionary, even if the model lacks them."""
    listed = {start for start, _, _ in entities}
    for i, span in enumerate(words if matches else []):
        entry = matches.get(span)
        if entry is not None and entry.tag:
            tags[i] = entry.tag
        if entry is not None and entry.entity and i not in listed:
            entities.append((i, i + 1, entry.entity))


def with_spaces(
    doc: Doc, words: Spans, tags: Sequence[str], entities: Sequence[tuple[int, int, str]]
) -> tuple[Spans, list[str], list[tuple[int, int, str]]]:
    """Add tokens of white space, as words without a tag, to words, tags and entities."""
    if sum(end - start for start, end in words) == len(doc):
        return words, list(tags), list(entities)
    spaces = [(token.i, token.i + 1) for token in doc if token.is_space]
    spans = sorted([*words, *spaces])
    position = {span: i for i, span in enumerate(spans)}
    tag_of = dict(zip(words, tags, strict=True))
    moved = [(position[words[start]], position[words[end - 1]] + 1, label) for start, end, label in entities]
    return spans, [tag_of.get(span, "") for span in spans], moved


def score_words(examples: Iterable[Example]) -> dict[str, Any]:
    """Score words (token_f), words with their tags (tag_acc, an F1), and entities (ents_f), as spaCy does."""
    examples = list(examples)
    scores = Scorer.score_tokenization(examples)
    scores.update(Scorer.score_token_attr(examples, "tag"))
    scores.update(get_ner_prf(examples))
    return scores

"""Count right answers by the length of sentences and of entities."""

from collections import Counter
from collections.abc import Iterable

from spacy.training import Example

SENTENCES = (10, 20, 40)  # last lengths, in words, of all classes but the longest
ENTITIES = (1, 3, 6)

Counts = dict[str, dict[str, dict[str, int]]]
"""By kind ("sentence", "entity") and class ("1-10"): `right` of `all`, and of entities those `found`."""


def class_of(length: int, ends: tuple[int, ...]) -> str:
    """Return the class of a length: "1-10", "11-20", "21-40" or "41+"."""
    first = 1
    for last in ends:
        if length <= last:
            return str(last) if first == last else f"{first}-{last}"
        first = last + 1
    return f"{first}+"


def count_tags(examples: Iterable[Example]) -> Counts:
    """Count words and right tags by the length of the sentence. Both docs have the same words."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for each in examples:
        key = class_of(len(each.reference), SENTENCES)
        total[key] += len(each.reference)
        right[key] += sum(a.tag == b.tag for a, b in zip(each.predicted, each.reference, strict=True))
    return {"sentence": {key: {"right": right[key], "all": total[key]} for key in total}}


def count_entities(examples: Iterable[Example]) -> Counts:
    """Count entities by the length of the sentence, and by their own length."""
    counts: Counts = {"sentence": {}, "entity": {}}
    for each in examples:
        gold = {(e.start, e.end, e.label_) for e in each.reference.ents}
        found = {(e.start, e.end, e.label_) for e in each.predicted.ents}
        sentence = class_of(len(each.reference), SENTENCES)
        for what, entities in (("all", gold), ("found", found), ("right", gold & found)):
            for start, end, _ in entities:
                _add(counts["sentence"], sentence, what)
                _add(counts["entity"], class_of(end - start, ENTITIES), what)
    return counts


def _add(counts: dict[str, dict[str, int]], key: str, what: str) -> None:
    counts.setdefault(key, {"right": 0, "all": 0, "found": 0})[what] += 1


def score(count: dict[str, int]) -> float:
    """Return the accuracy of tags, or the F1 of entities; 0 where there is nothing."""
    if "found" in count:
        return 2 * count["right"] / max(1, count["all"] + count["found"])
    return count["right"] / max(1, count["all"])

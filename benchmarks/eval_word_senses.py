"""Measure how often the nearest occurrence of an ambiguous word has the same sense: 100 words, by layer.

    python benchmarks/eval_word_senses.py [--model DIR] [--tsv FILE] [--words]

Each Chinese word occurs in three sentences in each of two senses. For each of the six, the nearest of the
other five is found by cosine; chance is two in five, 40 %. Layer 0 has no context except n-grams. Without
n-grams all six occurrences are equal in layer 0, so its score is chance.
FILE: tab-separated columns word, sense, sentence and, optionally, pos, with these names in the first line.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spacy_elmo.inference.loading import bundled_model_path
from spacy_elmo.pipeline.architectures import build_bilm_v1
from spacy_elmo.pipeline.concordance import Occurrence, occurrence_vectors, occurrences, select_layer
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


def score(examples: Sequence[Example], layers: np.ndarray) -> dict[str, dict[str, float]]:
    """Return, by layer ("0", "1", ..., "mean") and word, the share of nearest occurrences of the same sense.

    layers: (L, n, D), the vectors of the examples.
    """
    words = list(dict.fromkeys(example.word for example in examples))
    by_layer = {str(i): select_layer(layers, i) for i in range(len(layers))} | {
        "mean": select_layer(layers, None)
    }
    shares: dict[str, dict[str, float]] = {name: {} for name in by_layer}
    for word in words:
        at = [i for i, example in enumerate(examples) if example.word == word]
        for name, rows in by_layer.items():
            found = same_sense(rows[at], [examples[i].sense for i in at])
            shares[name][word] = float(found.mean())
    return shares


def main() -> None:
    """Run the evaluation and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=None, help="a model folder; default: the bundled model")
    parser.add_argument("--tsv", type=Path, default=SENSES, help="another set of examples")
    parser.add_argument("--words", action="store_true", help="print the shares of each word too")
    args = parser.parse_args()
    folder = args.model or bundled_model_path()
    examples = read(args.tsv)
    bilm = build_bilm_v1(folder)
    config = get_bilm_shim(bilm).bilm.config
    segment = None
    if config.units == "word":
        segment = make_segmenter("word", config.segmenter, config.lang, fold_fullwidth=config.fold_fullwidth)
    layers = occurrence_vectors(bilm, [[place(example)] for example in examples], segment)
    shares = score(examples, layers)
    if args.words:
        print("word".ljust(8) + "".join(f"{name:>8}" for name in shares))
        for word in shares["mean"]:
            columns = "".join(f"{own[word]:8.2f}" for own in shares.values())
            print(f"{word}{' ' * (8 - 2 * len(word))}{columns}")
        print()
    print(f"{folder.name}: {len(examples)} occurrences of {len(shares['mean'])} words")
    print("layer    nearest has the same sense    95 % interval (bootstrap over words)")
    for name, own in shares.items():
        values = np.asarray(list(own.values()))
        low, high = interval(values)
        print(f"{name:<5}{values.mean():>29.1%}    {low:.1%} to {high:.1%}")


if __name__ == "__main__":
    main()

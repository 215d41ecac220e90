"""Find out what limits eval_word_senses.py: kind of word, place, length of context, geometry of the vectors.

    python benchmarks/eval_sense_limits.py [--model DIR] [--e5] [--tagged DOCS.spacy]

All figures are the share of occurrences whose nearest other occurrence has the same sense; chance is 40 %.
--e5: add layer 9 of multilingual-e5-small, its best layer on the first 40 words.
--tagged: ask for parts of speech in text instead of senses. For each string with two tags that occur at
least 24 times each, 24 occurrences of each tag are drawn, and each is compared with the nearest of the 47
others; chance is 49 %.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _sense_vectors import Vectors, e5_layers, split, vectors, with_context
from eval_word_senses import SENSES, Example, hits, place, read, same_sense, segmenter_of
from spacy.tokens import DocBin
from spacy.vocab import Vocab
from thinc.api import Model

from spacy_elmo.inference.loading import bundled_model_path
from spacy_elmo.pipeline.architectures import build_bilm_v1
from spacy_elmo.pipeline.concordance import Occurrence, unit_rows
from spacy_elmo.pipeline.layers.bilm import get_bilm_shim

DEV = 240  # examples of the 40 words on which choices are made
E5_LAYER = 9
WINDOW = 40  # characters of a tagged text on each side
PER_TAG = 24
WHITENED = 64  # components; the others are too noisy in 600 rows


def kinds(examples: Sequence[Example], static: set[str]) -> dict[str, np.ndarray]:
    """Return masks of the examples (n,) by kind of word. static: strings that have a static vector."""
    tags = defaultdict(set)
    for example in examples:
        tags[example.word].add(example.pos)
    differ = np.asarray([len(tags[example.word]) > 1 for example in examples])
    single = np.asarray([len(example.word) == 1 for example in examples])
    known = np.asarray([example.word in static for example in examples])
    return {
        "two parts of speech, one character": differ & single,
        "two parts of speech, more characters": differ & ~single,
        "one part of speech, one character": ~differ & single,
        "one part of speech, more characters": ~differ & ~single,
        "more characters, static vector": ~single & known,
        "more characters, no static vector": ~single & ~known,
    }


def ends(places: Sequence[Occurrence]) -> dict[str, np.ndarray]:
    """Return masks of the examples (n,) by the place of the word in the sentence."""
    first = np.asarray([place.start == 0 for place in places])
    last = np.asarray([len(place.sentence) - place.end <= 1 for place in places])
    return {"first in the sentence": first, "last but for a mark": last & ~first, "between": ~first & ~last}


def nearest_share(words: Sequence[str], rows: np.ndarray, chosen: np.ndarray) -> tuple[float, float]:
    """Return how often the nearest occurrence of a chosen one is chosen too, and that share by chance.

    words: (n,). rows: (n, D). chosen: (n,) of bool. Occurrences without another chosen one do not count.
    """
    rows, shares = unit_rows(rows), []
    for i in np.flatnonzero(chosen):
        others = np.asarray([j for j, word in enumerate(words) if word == words[i] and j != i])
        if chosen[others].any():
            nearest = others[(rows[others] @ rows[i]).argmax()]
            shares.append((chosen[nearest], chosen[others].mean()))
    observed, chance = np.mean(shares, axis=0)
    return float(observed), float(chance)


def geometry(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return rows (n, D) without their mean, without their first principal components, and whitened."""
    centred = rows - rows.mean(axis=0)
    _, deviations, axes = np.linalg.svd(centred, full_matrices=False)
    keep = deviations > 1e-5 * deviations[0]
    deviations, axes = deviations[keep], axes[keep]
    found = {"mean removed": centred}
    for n in (2, 8):
        found[f"mean and {n} components removed"] = centred - centred @ axes[:n].T @ axes[:n]
    return found | {f"{WHITENED} components, whitened": centred @ axes[:WHITENED].T / deviations[:WHITENED]}


def learned(examples: Sequence[Example], rows: np.ndarray, *, folds: int = 10, width: int = 64) -> np.ndarray:
    """Return hits (n,) after a linear map that is learned on the senses of other words.

    The map scales down the directions in which occurrences of the same sense differ (within-class covariance
    normalization, Hatch et al. 2006), in the first `width` principal components. Each fold of the words is
    scored with the map of the other folds.
    """
    words = list(dict.fromkeys(example.word for example in examples))
    fold = np.asarray([words.index(example.word) % folds for example in examples])
    senses = np.asarray([f"{example.word} {example.sense}" for example in examples])
    found = np.zeros(len(examples))
    for k in range(folds):
        train = fold != k
        centred = rows - rows[train].mean(axis=0)
        low = centred @ np.linalg.svd(centred[train], full_matrices=False)[2][:width].T  # (n, width)
        within = [low[senses == sense] for sense in dict.fromkeys(senses[train])]
        deviations = np.concatenate([each - each.mean(axis=0) for each in within])
        covariance = deviations.T @ deviations / (len(deviations) - len(within))
        covariance += np.trace(covariance) / len(covariance) * np.eye(len(covariance))  # shrinkage of a half
        values, axes = np.linalg.eigh(covariance)
        found[~train] = hits(
            [e for e, t in zip(examples, train, strict=True) if not t], (low @ axes / np.sqrt(values))[~train]
        )
    return found


def tagged(bilm: Model[Any, Any], path: Path) -> dict[str, float]:
    """Return the shares of nearest occurrences with the same tag by kind of vector, for parts of speech."""
    places: dict[str, dict[str, list[Occurrence]]] = defaultdict(lambda: defaultdict(list))
    for doc in DocBin().from_disk(path).get_docs(Vocab()):
        for token in doc:
            start, end = token.idx, token.idx + len(token)
            begin = max(0, start - WINDOW)
            at = Occurrence(doc.text[begin : end + WINDOW], start - begin, end - begin)
            places[token.text][token.tag_[:1].lower()].append(at)
    rng, shares = np.random.default_rng(0), defaultdict(list)
    for by_tag in places.values():
        two = sorted(by_tag.items(), key=lambda each: -len(each[1]))[:2]
        if len(two) < 2 or len(two[1][1]) < PER_TAG:
            continue
        drawn = [found[i] for _, found in two for i in rng.permutation(len(found))[:PER_TAG]]
        tags = [tag for tag, _ in two for _ in range(PER_TAG)]
        found = vectors(bilm, [split(each, segmenter_of(bilm)) for each in drawn])
        for name, rows in compared(found).items():
            shares[name].append(same_sense(unit_rows(rows), tags).mean())
    return {f"{name} ({len(each)} strings)": float(np.mean(each)) for name, each in shares.items()}


def compared(found: Vectors) -> dict[str, np.ndarray]:
    """Return the kinds of vectors that the tables compare, (n, D) each."""
    top = len(found.own) - 1
    return {
        "layer 0": found.own[0],
        f"layer {top}": found.own[top],
        "context": found.context[top],
        f"layer {top} + context": with_context(found, top),
    }


def print_parts(title: str, parts: dict[str, np.ndarray], by_kind: dict[str, np.ndarray]) -> None:
    """Print the mean of hits (n,) by kind of vector, for each part of the examples."""
    print(f"\n{title:<40}{'n':>5}" + "".join(f"{name:>19}" for name in by_kind))
    for name, mask in parts.items():
        print(
            f"{name:<40}{mask.sum():>5}"
            + "".join(f"{100 * each[mask].mean():>19.1f}" for each in by_kind.values())
        )


def print_variants(title: str, variants: dict[str, np.ndarray]) -> None:
    """Print the mean of hits (n,) of variants on the 40 words for choices, on the others, and on all."""
    print(f"\n{title:<40}{'40 words':>10}{'60 words':>10}{'all':>10}")
    for name, each in variants.items():
        print(
            f"{name:<40}" + "".join(f"{100 * part.mean():>10.1f}" for part in (each[:DEV], each[DEV:], each))
        )


def main() -> None:
    """Run the evaluation and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=None, help="a model folder; default: the bundled model")
    parser.add_argument("--e5", action="store_true", help="add multilingual-e5-small")
    parser.add_argument("--tagged", type=Path, help="a .spacy file with tags")
    args = parser.parse_args()
    examples = read(SENSES)
    places = [place(example) for example in examples]
    bilm = build_bilm_v1(args.model or bundled_model_path())
    network, segment = get_bilm_shim(bilm).bilm, segmenter_of(bilm)

    def encoded(reach: int | None = None) -> dict[str, np.ndarray]:
        sentences = [split(each, segment, reach=reach) for each in places]
        rows = compared(vectors(bilm, sentences))
        return rows | ({f"e5 layer {E5_LAYER}": e5_layers(sentences)[E5_LAYER]} if args.e5 else {})

    rows = encoded()
    by_kind = {name: hits(examples, each) for name, each in rows.items()}
    print_parts("all", {"": np.ones(len(examples), dtype=bool)}, by_kind)
    print_parts("kind of word", kinds(examples, set(network.vocab.static)), by_kind)
    parts = ends(places)
    print_parts("place of the word", parts, by_kind)
    top = f"layer {network.config.n_layers}"
    for name in list(parts)[:2]:
        shares = nearest_share([example.word for example in examples], rows[top], parts[name])
        print("nearest of these by {} is one of these: {:.0%}, by chance {:.0%}".format(top, *shares))
    print("\n" + "encoded tokens on each side".ljust(45) + "".join(f"{name:>19}" for name in rows))
    for reach in (1, 2, 4, 8):
        found = [hits(examples, each) for each in encoded(reach).values()]
        print(f"{reach:<45}" + "".join(f"{100 * each.mean():>19.1f}" for each in found))
    own, half = rows[top], rows[top].shape[1] // 2
    variants = {top: own, "forward half": own[:, :half], "backward half": own[:, half:]} | geometry(own)
    scored = {name: hits(examples, each) for name, each in variants.items()}
    scored["linear map learned on other words"] = learned(examples, own)
    print_variants(f"variants of {top}", scored)
    if args.tagged:
        print("\nparts of speech: nearest has the same one")
        for name, share in tagged(bilm, args.tagged).items():
            print(f"{name:<40}{100 * share:>5.1f}")


if __name__ == "__main__":
    main()

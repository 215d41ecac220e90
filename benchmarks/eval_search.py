"""Which sentence vector finds the right sentence: retrieval_zh.tsv, 40 queries, 80 sentences.

Every query has one answer, which says it in other words, and one distractor, which shares its words. Vectors
are centred: the mean of all sentences is taken off.

    python benchmarks/eval_search.py [MODEL]
"""

import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import spacy

SET = Path(__file__).with_name("retrieval_zh.tsv")


class Pair(NamedTuple):
    """A line of the set."""

    query: str
    answer: str
    distractor: str


def read(path: Path) -> list[Pair]:
    """Read the lines of a set, without its header."""
    with path.open(encoding="utf8", newline="") as file:
        return [Pair(*row) for row in list(csv.reader(file, delimiter="\t"))[1:]]


def pooled(doc, layer: int | str, how: str) -> np.ndarray:
    """Return one vector of a Doc. layer: 0, 1, 2, "mean" or "static"; how: "mean", "max" or "ends"."""
    elmo = doc._.elmo
    rows = {"static": elmo.static_vectors, "mean": elmo.mean}.get(layer)
    rows = elmo.layers[layer] if rows is None else rows
    if how == "max":
        return rows.max(axis=0)
    if how == "ends":  # the forward state of the last token, the backward state of the first
        half = rows.shape[1] // 2
        return np.concatenate([rows[-1, :half], rows[0, half:]])
    return rows.mean(axis=0)


def scores(queries: np.ndarray, sentences: np.ndarray, *, center: bool = True) -> tuple[float, float]:
    """Return recall at 1 and mean reciprocal rank. queries: (n, D). sentences: (m, D), the answers first."""
    if center:  # what all sentences have in common says nothing
        middle = sentences.mean(axis=0)
        queries, sentences = queries - middle, sentences - middle
    similarity = _unit(queries) @ _unit(sentences).T
    answers = np.diagonal(similarity)[:, None]
    ranks = (similarity > answers).sum(axis=1) + 1
    return float((ranks == 1).mean()), float((1 / ranks).mean())


def table(embed: Callable[[Sequence[str]], dict[str, np.ndarray]], pairs: Sequence[Pair]) -> list[str]:
    """Format a line for each kind of vector. embed: texts to (n, D) by name."""
    n = len(pairs)
    queries = embed([pair.query for pair in pairs])
    sentences = embed([pair.answer for pair in pairs] + [pair.distractor for pair in pairs])
    lines = []
    for name, vectors in queries.items():
        answers = sentences[name][:n]
        found = [
            scores(vectors, answers),
            scores(vectors, answers, center=False),
            scores(vectors, sentences[name]),
        ]
        lines.append(f"| {name} | " + " | ".join(f"{100 * r:.1f} | {mrr:.3f}" for r, mrr in found) + " |")
    return lines


def elmo_vectors(nlp) -> Callable[[Sequence[str]], dict[str, np.ndarray]]:
    """Return pooled vectors of the component elmo."""
    kinds = [("static", "mean"), *((layer, how) for layer in (0, 1, 2, "mean") for how in ("mean", "max"))]
    kinds += [(1, "ends"), (2, "ends")]

    def embed(texts: Sequence[str]) -> dict[str, np.ndarray]:
        docs = list(nlp.pipe(texts))
        return {f"layer {a}, {b}": np.stack([pooled(doc, a, b) for doc in docs]) for a, b in kinds}

    return embed


def _unit(X: np.ndarray) -> np.ndarray:
    return X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)


if __name__ == "__main__":
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": sys.argv[1] if len(sys.argv) > 1 else None}})
    columns = ["40 answers: recall at 1", "MRR", "not centred", "MRR", "with distractors", "MRR"]
    print(f"| vector | {' | '.join(columns)} |\n|---{'|---' * 6}|")
    print("\n".join(table(elmo_vectors(nlp), read(SET))))

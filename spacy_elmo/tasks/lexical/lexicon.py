"""Lexicon features: the strings of a table that begin, continue or end at a token, or equal it.

SoftLexicon (Ma et al. 2020, "Simplify the Usage of Lexicon in Chinese NER", section 3.2): four groups of
strings for each character; the feature of a group is the weighted mean of its strings' vectors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from ...text import normalize

GROUPS = 4  # begin, middle, end, single
BEGIN, MIDDLE, END, SINGLE = range(GROUPS)
CODE_BITS = 21  # bits of a code point: the largest is 0x10FFFF


class Matches(NamedTuple):
    """Strings of the table that occur in a text, once for each position."""

    starts: np.ndarray
    """(M,) offset of the first character"""
    lengths: np.ndarray
    """(M,) in characters"""
    rows: np.ndarray
    """(M,) of the table"""


class Trie:
    """Finds all strings of a list in a text, by vectorised steps: one binary search for each length.

    strings: distinct, not empty. A node of depth n is a number; its key is (node of depth n - 1, character).
    """

    def __init__(self, strings: Sequence[str]):
        lengths = np.array([len(string) for string in strings], dtype=np.int64)
        begins = np.cumsum(lengths) - lengths
        codes = _codes("".join(strings))
        parents = np.zeros(len(strings), dtype=np.int64)
        self._levels: list[tuple[np.ndarray, np.ndarray]] = []  # ascending keys, row of each or -1
        reached = np.arange(len(strings))
        for depth in range(int(lengths.max(initial=0))):
            reached = reached[lengths[reached] > depth]
            keys = parents[reached] << CODE_BITS | codes[begins[reached] + depth]
            known, nodes = np.unique(keys, return_inverse=True)
            rows = np.full(len(known), -1, dtype=np.int64)
            whole = lengths[reached] == depth + 1
            rows[nodes[whole]] = reached[whole]
            parents[reached] = nodes
            self._levels.append((known, rows))

    def find(self, text: str) -> Matches:
        """Return all occurrences in a text, grouped by length."""
        codes = _codes(text)
        starts = np.arange(len(codes))
        nodes = np.zeros(len(codes), dtype=np.int64)
        found = [Matches(*(np.zeros(0, dtype=np.int64) for _ in range(3)))]
        for depth, (known, rows) in enumerate(self._levels):
            inside = starts + depth < len(codes)
            starts, nodes = starts[inside], nodes[inside]
            if not len(starts):
                break
            keys = nodes << CODE_BITS | codes[starts + depth]
            nodes = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            alive = known[nodes] == keys
            starts, nodes = starts[alive], nodes[alive]
            whole = rows[nodes] >= 0
            some = starts[whole]
            found.append(Matches(some, np.full(len(some), depth + 1), rows[nodes[whole]]))
        return Matches(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


class Lexicon:
    """A table of strings with vectors and weights, and its features of tokens.

    strings: distinct. vectors: (n, S). weights: (n,), weight of each string within its group, e.g. its
    frequency; None: all are equal.
    """

    def __init__(self, strings: Sequence[str], vectors: np.ndarray, weights: np.ndarray | None = None):
        self.strings = list(strings)
        self.vectors = torch.from_numpy(np.asarray(vectors, dtype=np.float32))
        ones = np.ones(len(self.strings))
        self.weights = np.asarray(ones if weights is None else weights, dtype=np.float32)
        self._trie = Trie(self.strings)

    @property
    def width(self) -> int:
        """Width of a token's features, 4 S."""
        return GROUPS * self.vectors.shape[1]

    def features(self, text: str, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Return the features of a text's tokens, (n_tokens, 4 S) float32: [begin; middle; end; single].

        starts, ends: (n_tokens,) offsets of the tokens, in order. A string over several tokens begins in the
        first of them and ends in the last; a string equal to a token is single; strings inside a token are
        ignored. Strings are found across white space; full-width letters and digits are folded.
        """
        bags, rows = self._covered(text, starts, ends)
        return self._means(bags, rows, len(starts))

    def _covered(self, text: str, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each string at each token, its bag (token * GROUPS + group) and its table row."""
        packed, offsets = _without_spaces(normalize(text))
        found = self._trie.find(packed)
        begins = offsets[found.starts]
        lasts = offsets[found.starts + found.lengths - 1]
        # The token of a character is the last one that begins at or before it.
        first = np.searchsorted(starts, begins, side="right") - 1
        last = np.searchsorted(starts, lasts, side="right") - 1
        inside = (first >= 0) & (begins < ends[first]) & (lasts < ends[last])
        several = inside & (first < last)
        single = inside & (first == last) & (begins == starts[first]) & (lasts + 1 == ends[last])
        between = np.where(several, last - first - 1, 0)
        middle = np.repeat(first + 1, between) + _counting(between)
        tokens = (first[several], middle, last[several], first[single])
        groups = (np.full(len(part), group) for group, part in enumerate(tokens))
        bags = np.concatenate([t * GROUPS + g for t, g in zip(tokens, groups, strict=True)])
        rows = found.rows
        return bags, np.concatenate([rows[several], np.repeat(rows, between), rows[several], rows[single]])

    def _means(self, bags: np.ndarray, rows: np.ndarray, n_tokens: int) -> np.ndarray:
        order = np.argsort(bags, kind="stable")
        bags, rows = bags[order], rows[order]
        weights = self.weights[rows]
        totals = np.bincount(bags, weights, minlength=n_tokens * GROUPS)
        # Where all weights are 0, for example of strings that were not counted, the mean is 0, too.
        shares = (weights / np.where(totals > 0, totals, 1.0)[bags]).astype(np.float32)
        offsets = np.searchsorted(bags, np.arange(n_tokens * GROUPS))
        if not len(rows):
            return np.zeros((n_tokens, self.width), dtype=np.float32)
        means = F.embedding_bag(
            torch.from_numpy(rows),
            self.vectors,
            torch.from_numpy(offsets),
            mode="sum",
            per_sample_weights=torch.from_numpy(shares),
        )
        return means.numpy().reshape(n_tokens, self.width)


def join_texts(
    texts: Sequence[str], starts: Sequence[np.ndarray], ends: Sequence[np.ndarray]
) -> tuple[str, np.ndarray, np.ndarray]:
    """Join texts and the offsets of their tokens to one text, in which no string crosses two texts."""
    begins = np.cumsum([0, *(len(text) + 1 for text in texts[:-1])])
    moved = [
        np.concatenate([own + begin for own, begin in zip(offsets, begins, strict=True)])
        for offsets in (starts, ends)
    ]
    return "\0".join(texts), moved[0], moved[1]


def rank_weights(strings: Sequence[str]) -> np.ndarray:
    """Return 1 / rank of each string among those of several characters (Zipf's law): (n,).

    It replaces frequencies for a table that is sorted by them. Single characters have weight 1, because they
    are alone in their group.
    """
    several = np.array([len(string) > 1 for string in strings], dtype=bool)
    weights = np.ones(len(strings), dtype=np.float32)
    weights[several] = 1.0 / np.arange(1, several.sum() + 1)
    return weights


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64)


def _without_spaces(text: str) -> tuple[str, np.ndarray]:
    """Return a text without white space, and the offset of each remaining character."""
    packed = "".join(text.split())
    if len(packed) == len(text):
        return text, np.arange(len(text))
    return packed, np.flatnonzero([not c.isspace() for c in text])


def _counting(counts: np.ndarray) -> np.ndarray:
    """Return 0 .. n - 1 for each n."""
    starts = np.cumsum(counts) - counts
    counting: np.ndarray = np.arange(int(counts.sum())) - np.repeat(starts, counts)
    return counting

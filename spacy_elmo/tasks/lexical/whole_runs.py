"""Find the parts of a text that are never split: runs of letters, of digits, and emoji or marks on a base."""

import re
import unicodedata

import numpy as np

from ...text import normalize

# The kinds of characters. A run is a pattern of kinds, below.
SPACE, LETTER, DIGIT, MARK, JOINER, SYMBOL, FLAG, OTHER = " LDMJSFO"

# Kinds follow Unicode's grapheme clusters (UAX 29), which also end a flag after two letters. Letters of
# scripts that put no spaces between words, as Chinese, Japanese and Thai, are OTHER: there the model decides.
_RUN = re.compile("(?:L[MJ]*)+|(?:D[MJ]*)+|FF[MJ]*|S[MJ]*(?:(?<=J)S[MJ]*)*|[^ ][MJ]+")

# Ideographs and Chinese punctuation: most sentences have nothing else, and none of these joins another.
_PLAIN = re.compile("[\u4e00-\u9fff\u3001-\u3011，。！？；：（）“”‘’]*")

_JOINER = "\u200d"
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]")
# The zero-width non-joiner of Persian, skin tones, and the tags in flags of regions: marks by their use.
_MARK = re.compile("[\u200c\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
_WITHOUT_SPACES = re.compile("[\u0e00-\u109f\u1780-\u17ff]")  # Thai, Lao, Tibetan, Burmese; Khmer


def inside_runs(text: str) -> np.ndarray:
    """Return whether each offset of a text lies inside of a run, (len(text) + 1,); no word has an end there.

    >>> inside_runs("用Linux")
    array([False, False,  True,  True,  True,  True, False])
    """
    inside = np.zeros(len(text) + 1, dtype=bool)
    if _PLAIN.fullmatch(text):
        return inside
    for match in _RUN.finditer(normalize(text).translate(_kinds)):
        inside[match.start() + 1 : match.end()] = True
    return inside


class _Kinds(dict[int, str]):
    """Kinds by code point, for str.translate; found at first use."""

    def __missing__(self, code: int) -> str:
        kind = self[code] = _kind(chr(code))
        return kind


_kinds = _Kinds()


def _kind(character: str) -> str:
    category = unicodedata.category(character)
    if character.isspace():
        return SPACE
    if character == _JOINER:
        return JOINER
    if category.startswith("M") or _MARK.match(character):
        return MARK
    if category == "Nd":
        return DIGIT
    if _FLAG.match(character):
        return FLAG
    if category.startswith("S"):
        return SYMBOL
    east_asian = unicodedata.east_asian_width(character) in "WFH"
    spaced = category.startswith("L") and not east_asian and not _WITHOUT_SPACES.match(character)
    return LETTER if spaced else OTHER

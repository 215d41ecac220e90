"""Convert text to the units that a biLM reads: normalisation, sentences, characters.

Pretraining and the pipeline both use this module, so a model reads text at run time exactly as in training.
"""

import re
import unicodedata
from itertools import pairwise

# Chinese newspapers and many web sources write Latin letters and digits in their full-width forms
# (U+FF10 '０' is '0', U+FF21 'Ａ' is 'A'). Only these are folded. Punctuation stays: '，' and ','
# are different signs, of different scripts.
_FULL_WIDTH = {
    code: code - 0xFEE0
    for first, last in ((0xFF10, 0xFF19), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A))
    for code in range(first, last + 1)
}
_HAS_FULL_WIDTH = re.compile(
    f"[{''.join(map(chr, _FULL_WIDTH))}]"
)  # searching takes a tenth of the time of translating

# A sentence ends after final punctuation and the closing quotes or brackets that follow it. The Latin full
# stop does not end one: '3.8' and 'Mr. Li' are more frequent in Chinese text than English sentences.
_SENTENCE = re.compile(r"[^。！？!?…\r\n]*[。！？!?…]+[”’」』）】》\"')\]]*|[^。！？!?…\r\n]+")

_NO_SPACE = re.compile(r"\S+")


def normalize(text: str) -> str:
    """Fold full-width letters and digits to their ordinary forms. The length stays the same.

    >>> normalize("１９９８年，ＷＴＯ")
    '1998年，WTO'
    """
    return text.translate(_FULL_WIDTH) if _HAS_FULL_WIDTH.search(text) else text


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return the offsets `(start, end)` of the sentences of `text`, in order, without overlap.

    A sentence ends after 。！？!?… with the closing quotes that follow, and at a line break. Every character
    that is not white space is in exactly one span. Spans of only white space are left out.

    >>> sentence_spans("你好。“再见！”他说")
    [(0, 3), (3, 8), (8, 10)]
    """
    return [m.span() for m in _SENTENCE.finditer(text) if not m.group().isspace()]


def is_east_asian(character: str) -> bool:
    """Return whether `character` belongs to a script without spaces between words, or to its punctuation.

    Chinese shares its quotes, dash and ellipsis (“ ” ‘ ’ — …) with other scripts: Unicode calls their width
    ambiguous.
    """
    width = unicodedata.east_asian_width(character)
    return width in "WF" or (width == "A" and unicodedata.category(character).startswith("P"))


def split_characters(text: str, *, fold_fullwidth: bool = True) -> tuple[list[str], list[int]]:
    """Return the units that a character model reads in `text`, and the offset of each in `text`.

    White space is dropped, because it carries no information in Chinese and depends on the segmenter.
    Only white space between two characters of other scripts ("Linux kernel") becomes one unit " ". Thus
    "我 爱 北京" and "我爱北京" give the same units.

    Args:
        text: The text, usually one sentence.
        fold_fullwidth: Fold full-width letters and digits.

    >>> split_characters("用 Linux kernel")[0]
    ['用', 'L', 'i', 'n', 'u', 'x', ' ', 'k', 'e', 'r', 'n', 'e', 'l']
    """
    text = normalize(text) if fold_fullwidth else text
    units: list[str] = []
    offsets: list[int] = []
    for run in _NO_SPACE.finditer(text):
        if units and not is_east_asian(units[-1]) and not is_east_asian(text[run.start()]):
            units.append(" ")
            offsets.append(offsets[-1] + 1)
        units.extend(run.group())
        offsets.extend(range(*run.span()))
    return units, offsets


def split_evenly(n: int, limit: int) -> list[tuple[int, int]]:
    """Split `n` units into the fewest parts of at most `limit` units, of nearly equal length.

    >>> split_evenly(10, 4)
    [(0, 4), (4, 7), (7, 10)]
    """
    if 0 < n <= limit:
        return [(0, n)]
    pieces = -(-n // limit)
    cuts = [-(-n * i // pieces) for i in range(pieces + 1)] if pieces else []
    return list(pairwise(cuts))

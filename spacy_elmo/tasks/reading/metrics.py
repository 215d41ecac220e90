"""Compute EM and F1 as defined by CMRC 2018, and Rouge-L as defined by DuReader.

F1 differs from SQuAD's: it counts the longest common *contiguous* run of units, not a bag of words.
"""

import re
from collections.abc import Sequence

# The list of CMRC 2018's script. Its "……" has two characters and never equals one, so … is not removed, nor
# are ‘ and the ASCII signs , . ? ! ( ).
_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_HAN = re.compile("[\u4e00-\u9fa5]")
# The script splits other text with nltk's word_tokenize. Ours: a run of letters and digits, with , and . in
# numbers and ' in words; every other sign that is not white space is a unit.
_WORD = re.compile(r"\d+(?:[.,]\d+)+|\w+(?:'\w+)*|[^\w\s]")
BETA = 1.2  # beta of Rouge-L, as in coco-caption, which DuReader's script calls


def mixed_segmentation(text: str) -> list[str]:
    """Return the units that F1 counts: Han characters one by one, other text as words, no punctuation.

    The text is lower-cased. A removed sign does not end a word: "a-b" gives "ab", as in the official script.

    >>> mixed_segmentation("在2008年，用 Linux")
    ['在', '2008', '年', '用', 'linux']
    """
    units: list[str] = []
    other = ""
    for character in text.lower().strip():
        if character in _PUNCTUATION:
            continue
        if _HAN.match(character):
            units += _WORD.findall(other)
            units.append(character)
            other = ""
        else:
            other += character
    return units + _WORD.findall(other)


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1.0 if the prediction equals an answer, both lower-cased and without the listed punctuation."""
    return float(any(_plain(prediction) == _plain(answer) for answer in answers))


def f1_score(prediction: str, answers: Sequence[str]) -> float:
    """Return the best F1 over the answers, by the longest common contiguous run of units."""
    return max((_f1(mixed_segmentation(prediction), mixed_segmentation(a)) for a in answers), default=0.0)


def rouge_l(prediction: str, answers: Sequence[str]) -> float:
    """Return the LCS F with beta 1.2 over characters except white space, with the best precision and recall.

    As in coco-caption, the maximum over the answers is taken of the precisions and of the recalls before they
    are combined.
    """
    units = "".join(prediction.split())
    pairs = [(units, "".join(answer.split())) for answer in answers]
    lengths = [(_common_subsequence(a, b), len(a), len(b)) for a, b in pairs if a and b]
    precision = max((common / n for common, n, _ in lengths), default=0.0)
    recall = max((common / n for common, _, n in lengths), default=0.0)
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _plain(text: str) -> str:
    return "".join(c for c in text.lower().strip() if c not in _PUNCTUATION)


def _f1(prediction: Sequence[str], answer: Sequence[str]) -> float:
    common = _common_run(prediction, answer)
    if not common:
        return 0.0
    precision, recall = common / len(prediction), common / len(answer)
    return 2 * precision * recall / (precision + recall)


def _common_run(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the number of units of the longest common contiguous run."""
    longest, previous = 0, [0] * (len(b) + 1)
    for x in a:
        row = [0] * (len(b) + 1)
        for j, y in enumerate(b, start=1):
            if x == y:
                row[j] = previous[j - 1] + 1
                longest = max(longest, row[j])
        previous = row
    return longest


def _common_subsequence(a: str, b: str) -> int:
    """Return the length of the longest common subsequence."""
    previous = [0] * (len(b) + 1)
    for x in a:
        row = [0]
        for j, y in enumerate(b, start=1):
            row.append(previous[j - 1] + 1 if x == y else max(previous[j], row[-1]))
        previous = row
    return previous[-1]

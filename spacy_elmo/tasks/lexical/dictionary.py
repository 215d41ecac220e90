"""A user dictionary: words that a segmenter keeps whole, regardless of its model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ElmoError
from ...text import normalize
from .lexicon import Trie


class Entry(NamedTuple):
    """A word of the dictionary."""

    word: str
    tag: str | None = None
    """None: the model decides."""
    entity: str | None = None
    """Label of the entity that the word is; None: the model decides."""


class Dictionary:
    """Finds the words of a dictionary in a text, longest first from the left, without overlap.

    entries: words, or (word, tag), or (word, tag, entity); the last entry of a word counts. Full-width
    letters and digits are folded. Raises an ElmoError for a word that is empty or has white space.
    """

    def __init__(self, entries: Iterable[str | tuple[Any, ...]] = ()):
        listed = [Entry(each) if isinstance(each, str) else Entry(*each) for each in entries]
        for entry in listed:
            if not entry.word or entry.word.split() != [entry.word]:
                raise ElmoError(f"{entry.word!r} is not a word: give words without white space.")
        self.entries = list({normalize(entry.word): entry for entry in listed}.values())
        self._trie = Trie([normalize(entry.word) for entry in self.entries])

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, text: str) -> list[tuple[int, int, Entry]]:
        """Return start, end and entry of each word found."""
        matches = self._trie.find(normalize(text))
        order = sorted(
            zip(matches.starts.tolist(), (-matches.lengths).tolist(), matches.rows.tolist(), strict=True)
        )
        found, free = [], 0
        for start, minus_length, row in order:
            if start >= free:
                free = start - minus_length
                found.append((start, free, self.entries[row]))
        return found


def read_dictionary(path: str | Path) -> list[Entry]:
    """Read a file with one word per line, optionally with a tag and an entity label after it ("-": none).

    The format is that of jieba and LAC: fields are separated by white space, and a number (jieba's frequency)
    is ignored. Raises an ElmoError for a file that cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ElmoError(f"{path} is not a dictionary ({error}): give a text file in UTF-8.") from None
    entries = []
    for line in text.splitlines():
        word, *rest = line.split() or [""]
        fields = [None if field == "-" else field for field in rest if not field.isdigit()]
        if word:
            entries.append(Entry(word, *fields[:2]))
    return entries

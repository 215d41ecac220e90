"""A user dictionary: words that a segmenter keeps whole, regardless of its model."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import ElmoError
from ...text import normalize
from .lexicon import Trie
from .whole_runs import inside_runs


class Entry(NamedTuple):
    """A word of the dictionary."""

    word: str
    tag: str | None = None
    """None: the model decides."""
    entity: str | None = None
    """Label of the entity that the word is; None: the model decides."""


Word = str | Sequence[str | None]
"""A word, or a list or tuple of the fields of an Entry."""


class Dictionary:
    """Finds the words of a dictionary in a text, longest first from the left, without overlap.

    entries: the last entry of a word counts. Full-width letters and digits are folded.
    """

    def __init__(self, entries: Iterable[Entry] = ()):
        self.entries = list({normalize(entry.word): entry for entry in entries}.values())
        self._trie = Trie([normalize(entry.word) for entry in self.entries])

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, text: str) -> list[tuple[int, int, Entry]]:
        """Return start, end and entry of each word found. A match never splits a run, see whole_runs."""
        inside = inside_runs(text)
        matches = self._trie.find(normalize(text))
        order = sorted(
            zip(matches.starts.tolist(), (-matches.lengths).tolist(), matches.rows.tolist(), strict=True)
        )
        found, free = [], 0
        for start, minus_length, row in order:
            end = start - minus_length
            if start >= free and not inside[start] and not inside[end]:
                free = end
                found.append((start, end, self.entries[row]))
        return found


def read_entries(words: Iterable[Word]) -> list[Entry]:
    """Return the entries for words, (word, tag) or (word, tag, entity). Raises an ElmoError for others."""
    if not isinstance(words, Iterable) or isinstance(words, str | Mapping):
        raise ElmoError(f"{words!r} is not a list of words: give a list, also for a single word.")
    return [_read_entry(each) for each in words]


def _read_entry(word: Word) -> Entry:
    fields = (word,) if isinstance(word, str) else word
    if not isinstance(fields, tuple | list) or not 1 <= len(fields) <= len(Entry._fields):
        fields = (None,)
    if fields[0] is None or not all(field is None or isinstance(field, str) for field in fields):
        raise ElmoError(
            f"{word!r} is not an entry of a dictionary: give a word, or a tuple of a word, its tag and the "
            "label of its entity."
        )
    entry = Entry(*fields)
    if entry.word.split() != [entry.word]:
        raise ElmoError(f"{entry.word!r} is not a word: give words without white space.")
    return entry


def read_dictionary(path: str | Path) -> list[Entry]:
    """Read a file with one word per line, optionally with a tag and an entity label after it ("-": none).

    The format is that of jieba: fields are separated by white space, and a number (a frequency) is ignored.
    Raises an ElmoError for a file that cannot be read, and for a line with more fields.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ElmoError(f"{path} is not a dictionary ({error}): give a text file in UTF-8.") from None
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        word, *rest = line.split() or [""]
        fields = [None if field == "-" else field for field in rest if not field.isdigit()]
        if len(fields) > 2:
            raise ElmoError(
                f"Line {number} of {path} has more than a word, its tag and the label of its entity: correct "
                "it, and give words without white space."
            )
        if word:
            entries.append(Entry(word, *fields))
    return entries

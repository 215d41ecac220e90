"""A stronger embedding for Chinese words, for both sides of the comparison: `spacy train --code features.py`.

spaCy's SUFFIX is the last three characters, which in Chinese is the whole word, once more. The last
character alone (者, 市, 化) tells more of an unknown word: a tagger of 500 sentences makes a tenth fewer
errors with it. Without it, a part of what ELMo brings would be the characters and not the context.
"""

import json
from collections.abc import Callable

from spacy.attrs import SUFFIX
from spacy.language import Language
from spacy.util import registry

SPACY_LENGTH = 3
"""What SUFFIX is without this file."""
NAME = "zh_elmo.suffix.v1"


class LastCharacters:
    """The lexical attribute: the last `length` characters. A class, so that it can be pickled."""

    def __init__(self, length: int):
        self.length = length

    def __call__(self, text: str) -> str:
        return text[-self.length :]


@registry.callbacks(NAME)
def make_suffix(length: int) -> Callable[[type[Language]], type[Language]]:
    """For `[nlp.before_creation]`: SUFFIX becomes the last `length` characters.

    spaCy insists on getting its own class back, so this holds for the language in the whole process.
    """

    def set_suffix(language: type[Language]) -> type[Language]:
        language.Defaults.lex_attr_getters = {
            **language.Defaults.lex_attr_getters,
            SUFFIX: LastCharacters(length),
        }
        return language

    return set_suffix


def options(length: int) -> list[str]:
    """The options of `spacy train` that set it; none for the length that spaCy has anyway."""
    if length == SPACY_LENGTH:
        return []
    return ["--code", __file__, "--nlp.before_creation", json.dumps({"@callbacks": NAME, "length": length})]

"""Shorten spaCy's SUFFIX for Chinese, for both sides of the comparison: `spacy train --code features.py`.

spaCy's SUFFIX is the last three characters, which in Chinese is usually the whole word. The last character
alone (者, 市, 化) says more about an unknown word: a tagger trained on 500 sentences makes 10 % fewer errors
with it. Otherwise a part of ELMo's gain would come from the characters and not from the context.
"""

import json
from collections.abc import Callable

from spacy.attrs import SUFFIX
from spacy.language import Language
from spacy.util import registry

SPACY_LENGTH = 3
"""Length of SUFFIX without this file."""
NAME = "zh_elmo.suffix.v1"


class LastCharacters:
    """Lexical attribute: the last `length` characters. A class, so that it can be pickled."""

    def __init__(self, length: int):
        self.length = length

    def __call__(self, text: str) -> str:
        """Return the last characters of a string."""
        return text[-self.length :]


@registry.callbacks(NAME)
def make_suffix(length: int) -> Callable[[type[Language]], type[Language]]:
    """Return a callback for `[nlp.before_creation]` that sets SUFFIX to the last `length` characters.

    spaCy requires the callback to return the same class, so this changes the language in the whole process.
    """

    def set_suffix(language: type[Language]) -> type[Language]:
        language.Defaults.lex_attr_getters = {
            **language.Defaults.lex_attr_getters,
            SUFFIX: LastCharacters(length),
        }
        return language

    return set_suffix


def options(length: int) -> list[str]:
    """Return the options of `spacy train` that set the length; none for spaCy's default."""
    if length == SPACY_LENGTH:
        return []
    return ["--code", __file__, "--nlp.before_creation", json.dumps({"@callbacks": NAME, "length": length})]

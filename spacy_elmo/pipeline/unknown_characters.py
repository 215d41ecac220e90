"""Warn of text in characters that the biLM does not know, such as traditional ones for a simplified model."""

import warnings
from collections.abc import Iterable

from spacy.tokens import Doc

from ..inference.bilm import BiLM
from ..text import split_characters

N_CHECKED = 2000  # characters that are looked at; later ones cost nothing
MIN_UNKNOWN = 10  # a short text may well have a rare name or some emoji
MAX_SHARE = 0.2  # of unknown ones; simplified text has below 0.01, traditional text about 0.3
N_SHOWN = 10


class UnknownCharacterCheck:
    """Counts unknown characters in the first texts of a component, and warns at most once."""

    def __init__(self) -> None:
        self._checked = 0
        self._unknown = 0
        self._examples: dict[str, None] = {}

    def check(self, docs: Iterable[Doc], bilm: BiLM, name: str) -> None:
        """Count the characters of docs, until there were enough. name: of the component, for the warning.

        A model of words is left out: most of its unknown units are rare words.
        """
        if self._checked >= N_CHECKED or bilm.config.units != "char":
            return
        for doc in docs:
            left = N_CHECKED - self._checked
            units, _ = split_characters(doc.text[:left], fold_fullwidth=bilm.config.fold_fullwidth)
            unknown = [unit for unit in units if unit not in bilm.vocab]
            self._checked += len(units)
            self._unknown += len(unknown)
            self._examples.update(dict.fromkeys(unknown))
            if self._unknown >= MIN_UNKNOWN and self._unknown > MAX_SHARE * self._checked:
                self._warn(name)
                self._checked = N_CHECKED
            if self._checked >= N_CHECKED:
                self._examples = {}
                return

    def _warn(self, name: str) -> None:
        shown = "".join(list(self._examples)[:N_SHOWN])
        warnings.warn(
            f'{self._unknown} of the first {self._checked} characters are unknown to the model of "{name}" '
            f"and get the same embedding ({shown}): convert the text, traditional characters to simplified "
            "ones for example, or give the folder of a model that knows them as "
            f"[components.{name}.model] path.",
            stacklevel=5,
        )

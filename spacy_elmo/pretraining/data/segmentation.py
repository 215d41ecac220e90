"""Segment lines into sentences and units, for `spacy elmo corpus` and `evaluate`."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import CorpusError
from ...text import normalize, sentence_spans, split_characters, split_evenly

# Characters that normalize() changes. Most sentences have none, and checking that is ten times as fast.
_FULL_WIDTH = "".join(c for c in map(chr, range(0xFF00, 0xFFF0)) if normalize(c) != c)
_FOLDED = re.compile(f"[{_FULL_WIDTH}]")
_UNUSUAL = re.compile(rf"[\s{_FULL_WIDTH}]")
ZH_SEGMENTERS = ("char", "jieba", "pkuseg")
PKUSEG_MODEL = "spacy_ontonotes"  # the model of spaCy's Chinese pipelines
PKUSEG_FILES = ("features.msgpack", "weights.npz")


@dataclass
class Segmenter:
    """A function from a sentence to its units.

    Attributes:
        cut: The function.
        name: Name that the corpus and the model record.
        memory_zone: Context in which spaCy's vocabulary does not keep new words, so that memory stays
            constant.
    """

    cut: Callable[[str], list[str]]
    name: str
    memory_zone: Callable[[], AbstractContextManager[Any]] = nullcontext

    def __call__(self, sentence: str) -> list[str]:
        """Return the units of a sentence."""
        return self.cut(sentence)


def sentences(
    text: str, segmenter: Callable[[str], list[str]], max_sentence_length: int
) -> Iterator[list[str]]:
    """Yield the sentences of a paragraph as lists of units, split as in the pipeline (module text)."""
    for start, end in sentence_spans(text):
        units = segmenter(text[start:end])
        if len(units) <= max_sentence_length:
            if units:
                yield units
            continue
        for first, last in split_evenly(len(units), max_sentence_length):
            yield units[first:last]


def make_segmenter(units: str, segmenter: str, lang: str, *, fold_fullwidth: bool = True) -> Segmenter:
    """Return the segmenter of sentences into units.

    Args:
        units: "char": the characters that a character model reads. "word": the tokens of spaCy's `lang`.
        segmenter: For Chinese words, the segmenter of spacy.zh.ChineseTokenizer ("char", "jieba", "pkuseg"),
            or "pkuseg:MODEL" with the name or folder of another model of pkuseg. Any other value is the name
            or folder of a spaCy pipeline, whose tokenizer is used.
        lang: Language, an ISO code as in spaCy.
        fold_fullwidth: Fold full-width letters and digits.

    Raises:
        CorpusError: The segmenter cannot be loaded.
    """
    if units == "char":
        return Segmenter(lambda sentence: _characters(sentence, fold_fullwidth), "char")
    fold = _fold if fold_fullwidth else str
    if (segmenter, lang) == ("jieba", "zh"):
        # The function that spaCy's tokenizer calls, without spaCy: a worker starts three seconds sooner.
        cut = _jieba()
        return Segmenter(lambda sentence: _words(sentence, cut, fold), segmenter)
    nlp, name = _pipeline(segmenter, lang)
    tokenizer = nlp.tokenizer
    backend = getattr(tokenizer, f"{getattr(tokenizer, 'segmenter', None)}_seg", None)  # of ChineseTokenizer
    if backend is not None:  # the same words, faster without a Doc
        return Segmenter(lambda sentence: _words(sentence, backend.cut, fold), name)
    return Segmenter(
        lambda sentence: [fold(token.text) for token in tokenizer(sentence) if not token.is_space],
        name,
        nlp.memory_zone,
    )


def _characters(sentence: str, fold_fullwidth: bool) -> list[str]:
    parts = sentence.split()
    if len(parts) != 1:
        return split_characters(sentence, fold_fullwidth=fold_fullwidth)[0]
    return list(_fold(parts[0]) if fold_fullwidth else parts[0])  # equivalent, ten times as fast


def _fold(text: str) -> str:
    return normalize(text) if _FOLDED.search(text) else text


def _words(sentence: str, cut: Callable[[str], Iterable[str]], fold: Callable[[str], str]) -> list[str]:
    if not _UNUSUAL.search(sentence):
        return [*cut(sentence)]
    return [fold(word) for word in cut(sentence) if word and not word.isspace()]


def _jieba() -> Callable[[str], Iterable[str]]:
    try:
        from .fast_jieba import FastJieba

        cut: Callable[[str], Iterable[str]] = FastJieba().cut
    except Exception as error:
        raise CorpusError(
            f'The segmenter "jieba" cannot be loaded: {error}. Install spacy-elmo[jieba].'
        ) from error
    return cut


def _pipeline(segmenter: str, lang: str) -> tuple[Any, str]:
    """Return a spaCy pipeline with the tokenizer, and the name of the segmenter."""
    try:
        import spacy

        kind, _, model = segmenter.partition(":")
        nlp: Any = spacy.blank(lang, config=_config(kind, lang))
        if (kind, lang) == ("pkuseg", "zh"):
            _load_pkuseg(nlp.tokenizer, model or PKUSEG_MODEL)
            return nlp, segmenter
        name = segmenter if lang == "zh" else type(nlp.tokenizer).__name__
        if segmenter in (*ZH_SEGMENTERS, name) and (lang != "zh" or segmenter in ZH_SEGMENTERS):
            return nlp, name
        return spacy.load(segmenter), segmenter
    except Exception as error:  # spaCy and pkuseg may raise any error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorpusError(f'The segmenter "{segmenter}" of "{lang}" cannot be loaded: {reason}') from error


def _load_pkuseg(tokenizer: Any, model: str) -> None:
    """Load one of pkuseg's models by name, or a folder. pkuseg itself reports missing files poorly."""
    try:
        from spacy_pkuseg.config import config
    except ImportError as error:
        raise CorpusError("it is not installed: pip install 'spacy-elmo[pkuseg]'.") from error
    if model in config.available_models:
        try:
            tokenizer.initialize(pkuseg_model=model)
        except Exception as error:
            raise CorpusError(
                f'pkuseg downloads its model "{model}" at first use, and the download failed '
                f"({type(error).__name__}): give a model folder with --segmenter pkuseg:FOLDER."
            ) from error
        return
    for name in PKUSEG_FILES:
        if not (Path(model) / name).is_file():
            raise CorpusError(
                f"{model} is not a model of pkuseg ({name} is missing): give a folder that "
                f"spacy_pkuseg.train wrote, or one of {', '.join(config.available_models)}."
            )
    tokenizer.initialize(pkuseg_model=model)


def _config(segmenter: str, lang: str) -> dict[str, Any]:
    if lang == "zh" and segmenter in ZH_SEGMENTERS:
        return {"nlp": {"tokenizer": {"segmenter": segmenter}}}
    return {}

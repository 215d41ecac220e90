"""Documents -> sentences -> units: what `spacy elmo corpus` reads and how it cuts it."""

import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..bilm.errors import ElmoError
from ..bilm.text import characters, chunks, normalize, sentence_spans

OPENERS: dict[str, Callable] = {".gz": gzip.open, ".xz": lzma.open}
SUFFIXES = (".txt", ".jsonl")

Segmenter = Callable[[str], list[str]]


class CorpusError(ElmoError):
    """Text that no corpus can be made of."""


def find_files(inputs: Iterable[Path]) -> list[Path]:
    """The text files among `inputs`; of a folder all .txt and .jsonl in it, also packed, sorted by name."""
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and _kind(p) in SUFFIXES)
            if not inside:
                raise CorpusError(f"The folder {path} holds no text: put .txt or .jsonl files into it.")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise CorpusError(f"There is no text {path}: check the path.")
    return found


def read_lines(path: Path) -> Iterator[str]:
    """Paragraphs of a UTF-8 file: its lines, or the "text" of each line's object in .jsonl."""
    opener = OPENERS.get(path.suffix, open)
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, raw in enumerate(file, 1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                if _kind(path) == ".jsonl":
                    text = _text(text) if text.strip() else ""
                yield text
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}, line {number} is not UTF-8 (byte {error.object[error.start]:#04x}): convert the file, "
            "for Chinese most often from GB18030."
        ) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CorpusError(f'{path}, line {number} is no JSON object with a "text".') from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        where = f" after line {number}" if number else ""
        raise CorpusError(f"{path} cannot be read{where}: {error}.") from error


def _text(line: str) -> str:
    text = json.loads(line)["text"]
    text.encode("utf8")  # JSON can spell half a surrogate pair, which is no text
    return text


def sentences(text: str, segmenter: Segmenter, max_sentence: int) -> Iterator[list[str]]:
    """The sentences of a paragraph as lists of units, cut as the pipeline cuts them (bilm.text)."""
    for start, end in sentence_spans(text):
        units = segmenter(text[start:end])
        for first, last in chunks(len(units), max_sentence):
            yield units[first:last]


def make_segmenter(units: str, segmenter: str, lang: str, *, normalized: bool = True) -> Segmenter:
    """A function from a sentence to its units.

    units "char": the characters that a character model reads. "word": the tokens of spaCy's `lang`;
    for Chinese `segmenter` is that of spacy.zh.ChineseTokenizer ("char", "jieba", "pkuseg").
    """
    if units == "char":
        return lambda sentence: characters(sentence, normalized=normalized)[0]
    tokenizer = _tokenizer(segmenter, lang)
    fold = normalize if normalized else str
    return lambda sentence: [fold(token.text) for token in tokenizer(sentence) if not token.is_space]


def _tokenizer(segmenter: str, lang: str) -> Callable:
    import spacy

    try:
        if lang != "zh":
            return spacy.blank(lang).tokenizer
        config = {"nlp": {"tokenizer": {"segmenter": segmenter}}}
        tokenizer: Any = spacy.blank("zh", config=config).tokenizer
        if segmenter == "pkuseg":
            tokenizer.initialize(pkuseg_model="spacy_ontonotes")
        return tokenizer
    except Exception as error:  # spaCy, jieba and pkuseg raise whatever they like
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorpusError(f'The segmenter "{segmenter}" of "{lang}" does not start: {reason}') from error


def _kind(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix in OPENERS else path.suffix

"""Convert files of characters with BMES labels (Resume NER and its like) to `.spacy` files and raw text.

A line has one character and its label, separated by a space; a blank line ends a sentence. Labels are O, or
B-, M-, E- or S- and the entity's label. Characters are normalised by `spacy_elmo.text.normalize`.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import typer
from convert import ConvertError
from io_utils import fail, write_atomic
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from spacy_elmo.errors import ElmoError
from spacy_elmo.text import normalize

Row = tuple[str, str]
"""A character and its label."""


def read_sentences(path: Path) -> Iterator[list[Row]]:
    """Read the sentences of a file. Raises ConvertError, naming the line that has another form."""
    try:
        lines = path.read_text(encoding="utf8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConvertError(f"{path} cannot be read ({error}); give a file in UTF-8.") from None
    for blank, group in groupby(enumerate(lines, start=1), key=lambda line: not line[1].strip()):
        if not blank:
            yield [parse_row(line, f"{path}, line {number}") for number, line in group]


def parse_row(line: str, place: str) -> Row:
    """Split a line. Raises ConvertError, naming the line."""
    character, _, label = line.rstrip("\r").rpartition(" ")
    if not character or not (label == "O" or (label[:2] in ("B-", "M-", "E-", "S-") and label[2:])):
        raise ConvertError(f"{place}: {line!r} is not a character and a BMES label.")
    return normalize(character), label


def entities(labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return entities as (first character, character after the last, label).

    An entity continues as long as the label does and no other begins, so that a wrong label (an E without a
    B) loses no entity.
    """
    spans: list[tuple[int, int, str]] = []
    for i, label in enumerate(labels):
        if label == "O":
            continue
        goes_on = label[0] in "ME" and spans and spans[-1][1:] == (i, label[2:]) and labels[i - 1][0] in "BM"
        start = spans.pop()[0] if goes_on else i
        spans.append((start, i + 1, label[2:]))
    return spans


def docs_bytes(sentences: Iterable[Sequence[Row]]) -> tuple[bytes, int, int]:
    """Return a `.spacy` file with one Doc per sentence, and its numbers of sentences and entities."""
    vocab, n_entities = Vocab(), 0
    found = DocBin(attrs=["ORTH", "SPACY", "ENT_IOB", "ENT_TYPE"])
    for sentence in sentences:
        characters, labels = zip(*sentence, strict=True)
        doc = Doc(vocab, words=characters, spaces=[False] * len(characters))
        doc.set_ents([Span(doc, *span) for span in entities(labels)])
        n_entities += len(doc.ents)
        found.add(doc)
    return found.to_bytes(), len(found), n_entities


def main(
    sources: list[Path] = typer.Argument(..., help="Files of characters and BMES labels."),
    folder: Path = typer.Argument(..., help="Where to write a .spacy file and a .txt file for each."),
) -> None:
    """Convert files of characters and BMES labels to .spacy files of the same names, and to raw text."""
    try:
        for source in sources:
            sentences = list(read_sentences(source))
            data, n_sentences, n_entities = docs_bytes(sentences)
            name = source.name.split(".")[0]
            target = folder / f"{name}.spacy"
            write_atomic(target, data)
            lines = ("".join(character for character, _ in sentence) for sentence in sentences)
            write_atomic(folder / f"{name}.txt", "".join(f"{line}\n" for line in lines).encode("utf8"))
            typer.echo(f"{target}: {n_sentences:,} sentences, {n_entities:,} entities")
    except (ConvertError, ElmoError, OSError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)

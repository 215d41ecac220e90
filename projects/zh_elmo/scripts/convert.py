"""Convert the People's Daily corpus (lines of `word/TAG`) to spaCy's `.spacy` files and to raw text.

All text is normalised by `spacy_elmo.text.normalize`. The same input and options give byte-identical files.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import typer
from io_utils import fail, write_atomic
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from spacy_elmo.errors import ElmoError
from spacy_elmo.text import normalize

Word = tuple[str, str]
"""A word and its PKU tag."""
Sentence = list[Word]
Line = list[Word]
"""One line of the corpus: a paragraph or a headline."""

# Tag -> (label, whether a run of the tag is one entity).
# nr: the corpus splits family and given names (江/nr 泽民/nr), so a run is a name.
# t: a run is one point in time, from large to small units (1997年/t 12月/t 31日/t, 今天/t 上午/t), of which a
#    user wants the whole.
# ns, nt: a run is several names, an order of places (河北省/ns 张家口/ns) or a list (党中央/nt 国务院/nt).
ENTITIES = {"nr": ("PER", True), "t": ("TIME", True), "ns": ("LOC", False), "nt": ("ORG", False)}

FINAL = frozenset("。！？")
CLOSING = frozenset("”’』」）】》〉")
SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}
SEED = 1998
"""For the samples. Not an option: a sample of N sentences is the same in every experiment."""


class ConvertError(Exception):
    """The corpus cannot be converted; the message is one sentence for the user."""


def parse_line(line: str) -> Line:
    """Split `迈向/v  充满/v` at white space, and each item at its last slash; normalise the words.

    Raises ValueError, naming the item, if one is not of the form word/TAG.
    """
    words = []
    for item in line.split():
        word, _, tag = item.rpartition("/")
        if not word or not (tag.isascii() and tag.isalpha()):
            raise ValueError(f"{item!r} is not of the form word/TAG")
        words.append((normalize(word), tag))
    return words


def read_lines(path: Path) -> list[Line]:
    """Return all lines of the corpus that have words.

    Raises ConvertError if the file is not such a corpus.
    """
    try:
        text = path.read_text(encoding="utf8")
    except UnicodeDecodeError as error:
        raise ConvertError(
            f"{path} is not UTF-8 text (byte {error.start}); convert it to UTF-8 first."
        ) from None
    except OSError as error:
        raise ConvertError(
            f"{path} cannot be read ({error.strerror}); run the command 'assets' first."
        ) from None
    lines = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            words = parse_line(line)
        except ValueError as error:
            raise ConvertError(f"{path}, line {number}: {error}.") from None
        if words:
            lines.append(words)
    return lines


def split_sentences(line: Line) -> list[Sentence]:
    """Split a line after 。！？ and the closing quotes and brackets after it; the rest is a sentence too."""
    sentences: list[Sentence] = []
    current: Sentence = []
    ended = False
    for word, tag in line:
        if ended and word not in CLOSING and word not in FINAL:
            sentences.append(current)
            current, ended = [], False
        current.append((word, tag))
        ended = ended or word in FINAL
    if current:
        sentences.append(current)
    return sentences


def entities(sentence: Sentence) -> list[tuple[int, int, str]]:
    """Return entities as (first word, word after the last, label), from the tags as ENTITIES says."""
    spans = []
    start = 0
    for tag, run in groupby(tag for _, tag in sentence):
        end = start + len(list(run))
        if tag in ENTITIES:
            label, merge = ENTITIES[tag]
            spans += [(start, end, label)] if merge else [(i, i + 1, label) for i in range(start, end)]
        start = end
    return spans


def is_heading(line: Line) -> bool:
    """Return whether a line has no sentence-final punctuation: a headline, a byline, an item of a list."""
    return not any(word in FINAL for word, _ in line)


def split_blocks(lines: Sequence[Line]) -> dict[str, Sequence[Line]]:
    """Split the lines into contiguous blocks by SHARES, so that articles do not leak from one into another.

    The corpus does not mark its articles, so a cut in the middle of one would leak it. Each cut therefore
    moves to the next heading after running text, if there is one before the next cut.
    """
    blocks = {}
    start, share = 0, 0.0
    for part, part_share in SHARES.items():
        share += part_share
        aim = round(len(lines) * share)
        limit = min(len(lines), aim + round(len(lines) * min(SHARES.values()) / 2))
        openings = (
            i for i in range(aim, limit) if i and is_heading(lines[i]) and not is_heading(lines[i - 1])
        )
        end = next(openings, aim)
        blocks[part] = lines[start:end]
        start = end
    return blocks


def sample(sentences: Sequence[Sentence], n: int) -> list[Sentence]:
    """Draw `n` sentences, in corpus order; a smaller sample is part of every larger one."""
    order = list(range(len(sentences)))
    random.Random(SEED).shuffle(order)
    return [sentences[i] for i in sorted(order[:n])]


def make_doc(vocab: Vocab, sentence: Sentence) -> Doc:
    """Build a Doc of one sentence, with tags and entities, without spaces between the words."""
    words = [word for word, _ in sentence]
    doc = Doc(vocab, words=words, spaces=[False] * len(words), tags=[tag for _, tag in sentence])
    doc.set_ents([Span(doc, start, end, label) for start, end, label in entities(sentence)])
    return doc


def docs_bytes(vocab: Vocab, sentences: Iterable[Sentence]) -> bytes:
    """Return the content of a `.spacy` file with one Doc per sentence."""
    docs = (make_doc(vocab, sentence) for sentence in sentences)
    return DocBin(attrs=["ORTH", "SPACY", "TAG", "ENT_IOB", "ENT_TYPE"], docs=docs).to_bytes()


def raw_bytes(lines: Iterable[Line]) -> bytes:
    """Return plain text without tags and spaces, one line per line (paragraph) of the corpus."""
    return "".join("".join(word for word, _ in line) + "\n" for line in lines).encode("utf8")


@dataclass
class Counts:
    """Counts of a part. `unknown` is the share of its words that do not occur in the training part."""

    sentences: int
    words: int
    characters: int
    tags: int
    entities: dict[str, int]
    unknown: float


def count(sentences: Sequence[Sentence], known: frozenset[str]) -> Counts:
    """Count a part's sentences, words, characters, tags, entities and unknown words."""
    words = [word for sentence in sentences for word, _ in sentence]
    labels = Counter(label for sentence in sentences for _, _, label in entities(sentence))
    return Counts(
        sentences=len(sentences),
        words=len(words),
        characters=sum(map(len, words)),
        tags=len({tag for sentence in sentences for _, tag in sentence}),
        entities={label: labels[label] for label, _ in ENTITIES.values()},
        unknown=sum(word not in known for word in words) / max(1, len(words)),
    )


def table(counts: dict[str, Counts]) -> str:
    """Format the counts of all parts as an aligned table."""
    labels = [label for label, _ in ENTITIES.values()]
    rows = [["part", "sentences", "words", "characters", "tags", *labels, "unknown words"]]
    for part, c in counts.items():
        numbers = [c.sentences, c.words, c.characters, c.tags, *(c.entities[label] for label in labels)]
        rows.append([part, *(f"{number:,}" for number in numbers), f"{c.unknown:.1%}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def convert(source: Path, folder: Path, *, n_train: int, n_dev: int) -> dict[str, Counts]:
    """Write all files of the corpus into `folder` and return the counts of each.

    train.spacy, dev.spacy, test.spacy: all sentences of the block; raw_train.txt and so on: its text.
    train_{n_train}.spacy: a sample of the training sentences; dev_sample.spacy: one of at most `n_dev`.
    Raises ConvertError before anything is written.
    """
    lines = read_lines(source)
    blocks = split_blocks(lines)
    parts = {part: [s for line in block for s in split_sentences(line)] for part, block in blocks.items()}
    if not all(parts.values()):
        raise ConvertError(f"{source} has {len(lines)} lines with words, too few for three parts.")
    if not 1 <= n_train <= len(parts["train"]):
        raise ConvertError(
            f"{n_train} training sentences are asked for, but there are {len(parts['train'])}; "
            "set the variable 'sentences' to a number from 1 to that."
        )
    parts[f"train_{n_train}"] = sample(parts["train"], n_train)
    parts["dev_sample"] = sample(parts["dev"], n_dev)

    vocab = Vocab()
    for part, sentences in parts.items():
        write_atomic(folder / f"{part}.spacy", docs_bytes(vocab, sentences))
    for part, block in blocks.items():
        write_atomic(folder / f"raw_{part}.txt", raw_bytes(block))
    known = frozenset(word for sentence in parts["train"] for word, _ in sentence)
    return {part: count(sentences, known) for part, sentences in parts.items()}


def main(
    source: Path = typer.Argument(..., help="Lines of word/TAG, UTF-8."),
    folder: Path = typer.Argument(..., help="Where to write the corpus."),
    n_train: int = typer.Option(500, "--sentences", help="Size of the training sample."),
    n_dev: int = typer.Option(500, "--dev-sentences", help="Size of the development sample."),
) -> None:
    """Convert the tagged corpus to .spacy files and raw text, in contiguous blocks of 80/10/10 %."""
    try:
        counts = convert(source, folder, n_train=n_train, n_dev=n_dev)
    except (ConvertError, ElmoError, OSError) as error:
        fail(str(error))
    typer.echo(table(counts))


if __name__ == "__main__":
    typer.run(main)

"""Prepare the reading comprehension data: simplified script, split by passage.

Every file has SQuAD's format. OpenCC converts traditional script (DRCD) with unchanged offsets of all
answers. Simplified text is not changed.
"""

import copy
import json
import random
import shlex
from pathlib import Path
from typing import Any

import typer
from io_utils import fail, read_json, write_atomic, write_json

Squad = dict[str, Any]


class DataError(Exception):
    """A file cannot be used; the message says why."""


def load_converter() -> Any:
    """Load OpenCC's t2s. Raises DataError if it is not installed."""
    try:
        from opencc import OpenCC
    except ImportError:
        raise DataError('OpenCC is not installed: pip install "spacy-elmo[reading]".') from None
    return OpenCC("t2s")


def simplify(text: str, convert: Any) -> str:
    """Convert to simplified script, character by character, so that offsets do not change.

    OpenCC uses phrases. In the rare text whose length it would change, each character is converted alone, and
    kept if even that changes its length.
    """
    converted = convert(text)
    if len(converted) == len(text):
        return converted
    return "".join(new if len(new := convert(c)) == 1 else c for c in text)


def simplify_squad(data: Squad, convert: Any) -> Squad:
    """Convert passages, questions and answers. An answer with a correct offset is cut from its passage."""
    data = copy.deepcopy(data)
    for article in data["data"]:
        for paragraph in article["paragraphs"]:
            old, new = paragraph["context"], simplify(paragraph["context"], convert)
            paragraph["context"] = new
            for qa in paragraph["qas"]:
                qa["question"] = simplify(qa["question"], convert)
                for answer in qa["answers"]:
                    start, text = answer["answer_start"], answer["text"]
                    fits = old[start : start + len(text)] == text
                    answer["text"] = new[start : start + len(text)] if fits else simplify(text, convert)
    return data


def is_traditional(path: Path) -> bool:
    """Return whether a file belongs to DRCD, the data set in traditional script."""
    return path.name.upper().startswith("DRCD")


def read_data(path: Path, convert: Any) -> Squad:
    """Read a file in SQuAD format, in simplified script. Raises DataError."""
    try:
        data = read_json(path)
        return simplify_squad(data, convert) if is_traditional(path) else data
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run `spacy project assets` first.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not in SQuAD's form ({error!r}).") from error


def split(paragraphs: list[dict], dev_share: float, seed: int) -> tuple[list[dict], list[dict]]:
    """Draw the development part by passage; equal passages stay together."""
    contexts = sorted({paragraph["context"] for paragraph in paragraphs})
    random.Random(seed).shuffle(contexts)
    dev = set(contexts[: round(dev_share * len(contexts))])
    return (
        [paragraph for paragraph in paragraphs if paragraph["context"] not in dev],
        [paragraph for paragraph in paragraphs if paragraph["context"] in dev],
    )


def write_part(path: Path, paragraphs: list[dict]) -> str:
    """Write a part. Return a line that describes it."""
    write_json(path, {"version": "1", "data": [{"title": path.stem, "paragraphs": paragraphs}]})
    questions = sum(len(paragraph["qas"]) for paragraph in paragraphs)
    return f"{path}: {len(paragraphs)} passages, {questions} questions"


def write_passages(path: Path, paragraphs: list[dict]) -> str:
    """Write the text of all passages, each once, for a biLM that is to read them. Return a line about it."""
    passages = dict.fromkeys(" ".join(paragraph["context"].split()) for paragraph in paragraphs)
    write_atomic(path, "".join(f"{passage}\n\n" for passage in passages).encode("utf8"))
    return f"{path}: {len(passages)} passages, {sum(map(len, passages)):,} characters, no questions"


def main(
    output: Path = typer.Argument(
        ..., help="Folder to write train.json, dev.json, the tests and passages.txt to."
    ),
    train: str = typer.Option(
        ..., help="Files to train on, as one argument; a part of them is for development."
    ),
    test: str = typer.Option(..., help="Files to test on, as one argument."),
    dev_share: float = typer.Option(0.1, min=0.01, max=0.5, help="Share of passages for development."),
    seed: int = typer.Option(0, help="Seed of the development part."),
) -> None:
    """Write train, dev and test parts, and the text of all passages.

    No passage of the tests is in the training and development parts.
    """
    try:
        convert = load_converter().convert
        tests = {path: _paragraphs(read_data(path, convert)) for path in test_files(test)}
        tested = {paragraph["context"] for paragraphs in tests.values() for paragraph in paragraphs}
        known = [p for path in _paths(train) for p in _paragraphs(read_data(path, convert))]
        parts = split([p for p in known if p["context"] not in tested], dev_share, seed)
        for name, part in zip(("train", "dev"), parts, strict=True):
            typer.echo(write_part(output / f"{name}.json", part))
        for path, paragraphs in tests.items():
            typer.echo(write_part(output / f"{path.stem}.json", paragraphs))
        everything = [*known, *(p for paragraphs in tests.values() for p in paragraphs)]
        typer.echo(write_passages(output / "passages.txt", everything))
    except (DataError, OSError) as error:
        fail(str(error))


def test_files(text: str) -> list[Path]:
    """Return the files of a test option. Raises DataError if two would be written to one file."""
    paths = _paths(text)
    names = [path.stem for path in paths]
    for name in names:
        if name in ("train", "dev") or names.count(name) > 1:
            raise DataError(f"A test cannot be named {name}: {name}.json is another part. Rename the file.")
    return paths


def _paths(text: str) -> list[Path]:
    """Return the files of an option, which white space separates, as in a shell."""
    return [Path(each) for each in shlex.split(text)]


def _paragraphs(data: Squad) -> list[dict]:
    return [paragraph for article in data["data"] for paragraph in article["paragraphs"]]


if __name__ == "__main__":
    typer.run(main)

"""Share helpers of this project's scripts: files, fingerprints, numbers, errors in one sentence."""

import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn

import typer

from spacy_elmo.atomic_io import write_atomic

__all__ = [
    "fail",
    "fingerprint",
    "fingerprint_of_bilm",
    "read_json",
    "read_numbers",
    "write_atomic",
    "write_json",
]


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(data, ensure_ascii=False, indent=2) + "\n").encode("utf8"))


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises OSError and ValueError."""
    return json.loads(path.read_text(encoding="utf8"))


def fingerprint(path: Path) -> str:
    """Return the first 16 digits of the SHA-256 of a file: equal only for equal contents. Raises OSError."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def fingerprint_of_bilm(model: Path | None) -> str:
    """Return the fingerprint of the weights of a model folder; None: the bundled model. Raises OSError."""
    from spacy_elmo.inference.loading import bundled_model_path  # imports torch, which few scripts need

    return fingerprint((model or bundled_model_path()) / "weights.safetensors")


def read_numbers(text: str, *, smallest: int = 0) -> list[int]:
    """Return the whole numbers in a text such as "0 1 2", repeated ones too.

    Raises a ValueError if there are none, if one is smaller than `smallest`, or if there is something else,
    such as a comma: "1,000" could be one number or two.
    """
    numbers = text.split()
    if not numbers or not all(number.isdecimal() and int(number) >= smallest for number in numbers):
        raise ValueError(f"'{text}' is not a list of whole numbers from {smallest} on, such as '1 2'.")
    return [int(number) for number in numbers]


def fail(message: str) -> NoReturn:
    """End the script with one sentence on stderr and exit status 1."""
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(1)

"""Share helpers of this project's scripts: atomic files, and errors in one sentence."""

import json
from pathlib import Path
from typing import Any, NoReturn

import typer

from spacy_elmo.atomic_io import write_atomic

__all__ = ["fail", "read_json", "write_atomic", "write_json"]


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(data, ensure_ascii=False, indent=2) + "\n").encode("utf8"))


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises OSError and ValueError."""
    return json.loads(path.read_text(encoding="utf8"))


def fail(message: str) -> NoReturn:
    """End the script with one sentence on stderr and exit status 1."""
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(1)

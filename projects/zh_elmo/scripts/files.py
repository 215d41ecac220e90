"""What all scripts of this project share: files written whole or not at all, and errors in one sentence."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import typer


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all: to a temporary file beside it that is then renamed.

    A step that is interrupted leaves no half file that the next step would take for a finished one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)  # mkstemp's 0600 is for secrets
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(data, ensure_ascii=False, indent=2) + "\n").encode("utf8"))


def read_json(path: Path) -> Any:
    """Read a JSON file; the errors are `OSError` and `ValueError`."""
    return json.loads(path.read_text(encoding="utf8"))


def fail(message: str) -> NoReturn:
    """End the script with one sentence on stderr and exit status 1."""
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(1)

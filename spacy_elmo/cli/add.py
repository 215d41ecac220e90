"""`spacy elmo add`: add ELMo to the components of an existing configuration."""

import configparser
import logging
from pathlib import Path
from typing import Any

import typer
from wasabi import msg, table

from ..errors import ElmoError
from .app import command, one_line
from .init_config import check_language, check_new_file

OUTPUT_STANDS = "The configuration was written, but no pipeline could be built from it here:"


@command("add")
def add(
    config: str = typer.Argument(
        ..., help="A configuration, the folder of a pipeline, or the name of an installed one"
    ),
    output: Path = typer.Argument(..., help="The configuration to write"),
    model: Path | None = typer.Option(None, help="A model folder; default: the bundled model"),
    input_only: bool = typer.Option(
        False,
        "--input-only",
        help="Add ELMo to the input of components only; ELMo at the output helps most",
    ),
    code: Path | None = typer.Option(None, help="Python file with functions that the configuration names"),
    force: bool = typer.Option(False, "--force", "-F", help="Replace the file if it exists"),
) -> None:
    """Add ELMo to all components that can learn on it, and print a table of the changes.

    spacy elmo add config.cfg config_elmo.cfg
    """
    from spacy.cli._util import import_code

    from ..atomic_io import write_atomic
    from ..training_config.add_elmo import add_elmo, notes_of
    from ..training_config.config_text import ConfigText
    from ..training_config.options import check_path

    source = _find(config)
    import_code(code)
    check_new_file(output, force=force)
    check_path("--model", str(model) if model else None)
    try:
        text = ConfigText(source.read_text(encoding="utf8"))
        lang = text.resolve().get("nlp", {}).get("lang", "zh")
    except (ValueError, configparser.Error) as error:
        raise ElmoError(f"{source} is not a configuration of spaCy: {error}") from error
    check_language(str(lang), model)
    changes = add_elmo(text, model=str(model) if model else None, output=not input_only)
    write_atomic(output, str(text).encode())
    rows = [(change.component, change.before, change.after) for change in changes]
    print(table(rows, header=("component", "before", "after"), divider=True, max_col=60))
    msg.good(f"{output}: elmo before {', '.join(change.component for change in changes if change.changed)}")
    for note in notes_of(text.resolve()):
        msg.info(note)
    _try(text.parse())


def _find(name: str) -> Path:
    """Return the configuration of a file, of a pipeline's folder, or of an installed pipeline."""
    from spacy.util import get_package_path, is_package

    path = Path(name)
    if path.is_dir():
        path = path / "config.cfg"
    elif not path.exists() and is_package(name):
        path = next(iter(sorted(get_package_path(name).glob("*/config.cfg"))), path)
    if not path.is_file():
        raise ElmoError(f"There is no configuration {path}: name a file, or a pipeline.")
    return path


def _try(config: Any) -> None:
    """Build the pipeline, and say so where that fails."""
    from spacy.util import load_model_from_config

    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.INFO))  # the messages of a pipeline are for those who use it
    try:
        load_model_from_config(config, auto_fill=True)
    except Exception as error:  # of whatever the configuration names
        msg.warn(f"{OUTPUT_STANDS} {one_line(error)}")
    finally:
        logging.disable(disabled)

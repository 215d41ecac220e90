"""Define the typer application and the helpers that its commands share."""

import functools
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from wasabi import msg

from ..errors import ConfigError, ElmoError
from ..progress import show_progress

app = typer.Typer(
    name="elmo",
    help="Pretrain, measure and use ELMo models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def command(name: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a command that prints an ElmoError or OSError as one sentence and exits with status 1.

    In its paths, a leading ~ means the home folder: a shell leaves --output=~/model as it is.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            show_logs()
            try:
                with show_progress(is_interactive() and is_main_process()):
                    function(**{name: _expand_home(value) for name, value in arguments.items()})
            except (ElmoError, OSError) as error:
                msg.fail(str(error), exits=1)

        app.command(name, **settings)(run)
        return function

    return register


def _expand_home(value: Any) -> Any:
    """Return an argument with the home folder in place of a leading ~, if it is a path or a list of paths."""
    if isinstance(value, list):
        return [_expand_home(item) for item in value]
    return Path(os.path.expanduser(value)) if isinstance(value, Path) else value


def one_line(error: Exception) -> str:
    """Return the message of an error of others on one line, its first 300 characters; or its type."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def parse_overrides(args: list[str]) -> dict[str, Any]:
    """Return the values of options such as --training.max_steps 100, by dotted name.

    Raises a ConfigError for an option without a dot.
    """
    # spaCy's own import: click is not a dependency, and typer may have a copy of it.
    from spacy.cli._util import NoSuchOption, parse_config_overrides  # type: ignore[attr-defined]

    try:
        return parse_config_overrides(list(args))
    except NoSuchOption as error:
        raise ConfigError(
            f"{error.option_name} is not an option: see --help, or name a setting with its section, such as "
            "--training.max_steps."
        ) from error


def show_logs() -> None:
    """Print this package's messages, and warnings of others, to stderr, with the time.

    Nothing changes if the caller has configured logging.
    """
    if logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.name.split(".")[0] not in ("spacy", "jieba"))  # they print theirs
    logging.basicConfig(format="%(asctime)s  %(message)s", datefmt="%H:%M:%S", handlers=[handler])
    logging.getLogger("spacy_elmo").setLevel(logging.INFO if is_main_process() else logging.WARNING)


def is_main_process() -> bool:
    """Return whether this is rank 0 under torchrun, the only process that prints."""
    return os.environ.get("RANK", "0") == "0"


def is_interactive() -> bool:
    """Return whether stderr is a terminal: progress bars are shown only there."""
    return sys.stderr.isatty()

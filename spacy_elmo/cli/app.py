"""The typer application, and what its commands share."""

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import typer
from tqdm.auto import tqdm
from wasabi import msg

from ..errors import ElmoError

T = TypeVar("T")

app = typer.Typer(
    name="elmo",
    help="Pretrain, measure and use ELMo models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def command(name: str, **settings: Any) -> Callable[[Callable], Callable]:
    """Register a command whose ElmoErrors end it with their one sentence and exit status 1.

    So do errors of the system, such as a full disk.
    """

    def register(function: Callable) -> Callable:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            level = logging.INFO if is_main_process() else logging.WARNING
            logging.basicConfig(level=level, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
            try:
                function(*args, **kwargs)
            except (ElmoError, OSError) as error:
                msg.fail(str(error), exits=1)

        app.command(name, **settings)(run)
        return function

    return register


def is_main_process() -> bool:
    """Whether this is the one process of several under torchrun that speaks."""
    return os.environ.get("RANK", "0") == "0"


def is_interactive() -> bool:
    """Whether a person watches: then bars, elsewhere plain lines."""
    return sys.stderr.isatty()


def progress(lines: Iterable[T], name: str) -> Iterator[T]:
    """The lines of a file, with a bar where a person watches."""
    yield from tqdm(lines, desc=name, unit=" lines", disable=not is_interactive())

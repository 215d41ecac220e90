"""Commands of a second."""

import re
from pathlib import Path

from typer.testing import CliRunner

from spacy_elmo.cli.register import app

CONFIG = Path(__file__).parents[2] / "configs" / "pretrain.cfg"
TEXT = "我爱北京天安门。\n天安门上太阳升。\n" * 20
TINY = {
    "--model.projection_dim": 4,
    "--model.hidden_size": 8,
    "--training.max_steps": 3,
    "--training.batch_tokens": 64,
    "--training.eval_every": 2,
}


def run(*args):
    """The command in this process: exit status and output."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def plain(output: str) -> str:
    """On one line, without colours."""
    return " ".join(re.sub("\x1b\\[[0-9;]*m", "", output).split())


def tiny(folder: Path, **changes) -> list:
    options = {"--paths.train": folder / "corpus", "--paths.dev": folder / "text.txt", **TINY, **changes}
    return ["pretrain", CONFIG, "--output", folder / "run", *(x for pair in options.items() for x in pair)]

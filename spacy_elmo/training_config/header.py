"""The comment at the top of a configuration: its components, and the commands that write and train it."""

import shlex
from dataclasses import fields
from pathlib import PurePath

from .components import COMPONENTS
from .options import Options


def header_of(options: Options, output: str) -> list[str]:
    """Return the lines of the first comment of a configuration at `output`."""
    what = ["A baseline without ELMo:", "Components on frozen ELMo vectors:"][options.elmo]
    paths = [f" --paths.{part} {part}.spacy" for part in ("train", "dev") if not getattr(options, part)]
    name = shlex.quote(output)
    return [
        f"{what} {'; '.join(f'{each}, {COMPONENTS[each].description}' for each in options.pipeline)}.",
        "This command wrote the file:",
        f"  {command_of(options, output)}",
        "This command trains the pipeline:",
        f"  spacy train {name} --output output/{shlex.quote(PurePath(output).stem)}{''.join(paths)}",
    ]


def command_of(options: Options, output: str) -> str:
    """Return the command that writes a configuration of these options to `output`."""
    words = ["spacy", "elmo", "init-config", output, "--lang", options.lang]
    words += ["--pipeline", ",".join(options.pipeline)]
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in ("lang", "pipeline", "elmo") or value == field.default:
            continue
        flag = f"--{field.name.replace('_', '-')}"
        words += [flag] if value is True else [flag, str(value)]
    return shlex.join([*words, *["--no-elmo"] * (not options.elmo)])

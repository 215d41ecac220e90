"""A hook of MkDocs: the command line and the settings, written from the code in place of markers.

`<!-- commands -->` becomes all commands of `spacy elmo`, `<!-- settings: MODULE.CLASS -->` the table of a
dataclass's fields, whose docstrings say what they mean, and `<!-- registered: GROUP -->` what setup.cfg
registers in a group of entry points.
"""

import html
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
COMMANDS = "<!-- commands -->"
SETTINGS = re.compile(r"<!-- settings: ([\w.]+)\.(\w+) -->")
REGISTERED = re.compile(r"<!-- registered: (\w+) -->")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the markers of a page."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, commands())
    markdown = REGISTERED.sub(lambda match: registered(match[1]), markdown)
    return SETTINGS.sub(lambda match: settings(match[1], match[2]), markdown)


def commands() -> str:
    """Describe every command, by typer's own generator of documentation."""
    generator = [sys.executable, "-m", "typer", "spacy_elmo.cli.commands", "utils", "docs"]
    done = subprocess.run([*generator, "--name", "spacy elmo"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise PluginError(f"typer cannot describe the commands: {done.stderr}")
    text = done.stdout[done.stdout.index("\n## ") :]  # the page has a title and an introduction of its own
    text = re.sub(r"^(spacy elmo .*)$", r"```\n\1\n```", text, flags=re.MULTILINE)  # examples in docstrings
    text = re.sub(r"\* `--help`: .*\n", "", text)
    return re.sub(r"\*\*Options\*\*:\n\n(?=\n|\Z)", "", text)


def settings(module: str, name: str) -> str:
    """Return the table of a dataclass's fields: name, type, default, docstring."""
    lines = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for field in griffe.load(module, search_paths=[ROOT])[name].attributes.values():
        if field.annotation is None or "property" in field.labels:
            continue
        if field.docstring is None:
            raise PluginError(f"{module}.{name}.{field.name} has no docstring: say what it means.")
        meaning = " ".join(field.docstring.value.split()).replace("<", "&lt;").replace("|", "&#124;")
        cells = [
            _code(field.name),
            _code(field.annotation),
            _code(field.value).replace("field(default_factory=dict)", "{}"),
            meaning,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def registered(group: str) -> str:
    """Return a heading and mkdocstrings' directive for each function that setup.cfg registers in a group."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf8")
    entries = (line.split(" = ") for line in config["options.entry_points"][group].strip().splitlines())
    return "\n\n".join(
        f"::: {function.replace(':', '.')}\n"
        f"    options: {{ heading: {name}, toc_label: {name}, heading_level: 3 }}"
        for name, function in entries
    )


def _code(value: object) -> str:
    """Return code for a cell: in backticks a vertical bar would end the cell."""
    return "" if value is None else f"<code>{html.escape(str(value)).replace('|', '&#124;')}</code>"

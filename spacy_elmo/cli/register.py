"""Add `elmo` to the `spacy` command: spaCy imports this module through the entry point group spacy_cli."""

from spacy.cli._util import app as spacy_app

from .commands import app

__all__ = ["app"]

spacy_app.add_typer(app, name="elmo")

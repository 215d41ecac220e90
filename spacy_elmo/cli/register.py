"""Adds `elmo` to the `spacy` command: spaCy imports this module through the entry point group spacy_cli."""

from spacy.cli._util import app as spacy_app

from .app import app
from .corpus import corpus
from .evaluate import evaluate
from .info import info
from .plan import plan
from .pretrain import pretrain

__all__ = ["app", "corpus", "evaluate", "info", "plan", "pretrain"]

spacy_app.add_typer(app, name="elmo")

"""Adds `elmo` to the `spacy` command: spaCy imports this module through the entry point group spacy_cli."""

from spacy.cli._util import app as spacy_app

from .app import app
from .convert import convert
from .corpus import corpus
from .download import download
from .embed import embed
from .evaluate import evaluate
from .info import info
from .nearest import nearest
from .plan import plan
from .pretrain import pretrain

__all__ = ["app", "convert", "corpus", "download", "embed", "evaluate", "info", "nearest", "plan", "pretrain"]

spacy_app.add_typer(app, name="elmo")

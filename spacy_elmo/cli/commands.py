"""Import all commands, which registers them on the application.

`python -m spacy_elmo` runs them without spaCy's own command line, which takes seconds to import.
"""

from .add import add
from .app import app
from .convert import convert
from .corpus import corpus
from .download import download
from .embed import embed
from .estimate import estimate
from .evaluate import evaluate
from .export import export
from .info import info
from .init_config import init_config
from .layer_weights import layer_weights
from .lexicon import lexicon
from .nearest import nearest
from .package import package
from .plot import plot
from .pretrain import pretrain

__all__ = [
    "add",
    "app",
    "convert",
    "corpus",
    "download",
    "embed",
    "estimate",
    "evaluate",
    "export",
    "info",
    "init_config",
    "layer_weights",
    "lexicon",
    "nearest",
    "package",
    "plot",
    "pretrain",
]

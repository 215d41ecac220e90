"""ELMo for spaCy: `nlp.add_pipe("elmo")`, pretraining on your own text, transfer to any component.

The names below are the public interface. They are imported at first use, so that `import spacy_elmo` and the
`spacy` command line start quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .about import __version__

if TYPE_CHECKING:
    from .inference.bilm import BiLM
    from .inference.loading import load
    from .pipeline.annotations.output import register_extension
    from .pipeline.annotations.similarity import similarity

_LAZY = {
    "BiLM": "spacy_elmo.inference.bilm",
    "load": "spacy_elmo.inference.loading",
    "register_extension": "spacy_elmo.pipeline.annotations.output",
    "similarity": "spacy_elmo.pipeline.annotations.similarity",
}

__all__ = ["BiLM", "__version__", "load", "register_extension", "similarity"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name == "formats":  # load_bilm_tf and others
        return import_module("spacy_elmo.formats")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Build the registered architectures of the reader. Registered as entry points (setup.cfg)."""

from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ...pipeline.layers.elmo_tok2vec import share_bilm_layer
from .features import Batch
from .model import BiDAFLayer, BothEnds
from .network import SpanScores


def build_bidaf_v1(
    tok2vec: Model[list[Doc], list[Floats2d]] | None = None,
    char_dim: int = 64,
    hidden_size: int = 64,
    n_highway: int = 2,
    modeling_layers: int = 1,
    end_layers: int = 0,
    max_grad_norm: float = 5.0,
) -> Model[Batch, SpanScores]:
    """Build spacy-elmo.BiDAF.v1, the network of the component "reader" (Seo et al. 2017).

    Args:
        tok2vec: Vectors of characters at the input, e.g. a spacy-elmo.ElmoListener.v1; None: only the
            character embedding. A spacy-elmo.BothEnds.v1 also provides vectors after the modelling layer.
        char_dim: Width of the character embedding.
        hidden_size: Hidden size of each LSTM and direction.
        n_highway: Number of highway layers.
        modeling_layers: Number of modelling BiLSTMs.
        end_layers: Number of further BiLSTMs, which only the score of the end uses.
        max_grad_norm: Norm to which the gradients of the network are clipped.
    """
    return BiDAFLayer(
        tok2vec,
        max_grad_norm=max_grad_norm,
        char_dim=char_dim,
        hidden_size=hidden_size,
        n_highway=n_highway,
        modeling_layers=modeling_layers,
        end_layers=end_layers,
    )


def build_both_ends_v1(
    tok2vec: Model[list[Doc], list[Floats2d]], elmo: Model[list[Doc], list[Floats2d]]
) -> Model[Any, Any]:
    """Build spacy-elmo.BothEnds.v1, the tok2vec of a reader with ELMo at its input and its output.

    Args:
        tok2vec: Vectors at the input.
        elmo: Vectors after the modelling layer, where Peters et al. (2018) use ELMo a second time in their
            reader for SQuAD: a listener or a private biLM, with its own mix. A private biLM without [bilm]
            shares that of the tok2vec.
    """
    share_bilm_layer(elmo, tok2vec)
    return BothEnds(tok2vec, elmo)

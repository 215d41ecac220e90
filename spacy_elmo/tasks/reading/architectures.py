"""What a config can name: the reader's network. Registered as entry points (setup.cfg)."""

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
    hidden_size: int = 100,
    n_highway: int = 2,
    modeling_layers: int = 1,
    end_layers: int = 0,
    max_grad_norm: float = 5.0,
) -> Model[Batch, SpanScores]:
    """Create spacy-elmo.BiDAF.v1, the network of the component "reader" (Seo et al. 2017).

    tok2vec: vectors of characters at the input, e.g. a spacy-elmo.ElmoListener.v1; None: the character
    embedding alone. A spacy-elmo.BothEnds.v1 gives vectors after the modelling layer, too. char_dim: of the
    character embedding. hidden_size: of each LSTM and direction. n_highway, modeling_layers, end_layers: how
    many of them; the last are BiLSTMs that only the end is scored on. max_grad_norm: to which the norm of the
    network's gradients is clipped.
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
) -> Model:
    """Create spacy-elmo.BothEnds.v1, the tok2vec of a reader with ELMo at its input and at its output.

    tok2vec: vectors at the input. elmo: vectors after the modelling layer, where Peters et al. (2018) have
    it for the second time in their reader for SQuAD: a listener or a private biLM, with a mix of its own; a
    private one without [bilm] shares that of the tok2vec.
    """
    share_bilm_layer(elmo, tok2vec)
    return BothEnds(tok2vec, elmo)

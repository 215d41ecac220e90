"""What a config can name: the reader's network. Registered as an entry point (setup.cfg)."""

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from .features import Batch
from .model import BiDAFLayer
from .network import SpanScores


def build_bidaf_v1(
    tok2vec: Model[list[Doc], list[Floats2d]] | None = None,
    output_tok2vec: Model[list[Doc], list[Floats2d]] | None = None,
    char_dim: int = 64,
    hidden_size: int = 100,
    n_highway: int = 2,
    modeling_layers: int = 1,
    end_layers: int = 0,
    max_grad_norm: float = 5.0,
) -> Model[Batch, SpanScores]:
    """Create spacy-elmo.BiDAF.v1, the network of the component "reader" (Seo et al. 2017).

    tok2vec: vectors of characters at the input, e.g. a spacy-elmo.ElmoListener.v1; None: the character
    embedding alone. output_tok2vec: vectors once more after the modelling layer, as Peters et al. (2018) do
    for SQuAD. char_dim: of the character embedding. hidden_size: of each LSTM and direction. n_highway,
    modeling_layers, end_layers: how many of them; the last are BiLSTMs that only the end is scored on.
    max_grad_norm: to which the norm of the network's gradients is clipped.
    """
    return BiDAFLayer(
        tok2vec,
        output_tok2vec,
        max_grad_norm=max_grad_norm,
        char_dim=char_dim,
        hidden_size=hidden_size,
        n_highway=n_highway,
        modeling_layers=modeling_layers,
        end_layers=end_layers,
    )

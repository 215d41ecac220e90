"""Build the registered architectures: lexicon features, the BiLSTM encoder, and models with a CRF.

The functions are registered as entry points (setup.cfg); importing this module registers nothing.
"""

from pathlib import Path
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model, chain
from thinc.types import Floats2d, Floats3d

from ...kernels.precision import Precision
from ...pipeline.layers.elmo_tok2vec import ElmoTok2Vec
from ...pipeline.layers.listener import ElmoListener
from .analyzer_model import LexicalAnalyzerModel
from .bigram_embed import BigramEmbed
from .bilstm import BiLSTM
from .crf_layer import CRFLayer
from .distilled_tagger import DistilledTagger
from .lexicon_features import LexiconLayer


def build_lexicon_features_v1(path: str | Path | None = None) -> Model[list[Doc], list[Floats2d]]:
    """Build spacy-elmo.LexiconFeatures.v1: features of the strings of a table that cover each token.

    There are four groups of strings: those that begin at the token, continue over it, end at it, and equal
    it. The feature of a group is the mean of its static vectors (Ma et al. 2020, SoftLexicon). Shapes:
    List[Doc] -> List[Floats2d (n_tokens, 4 S)].

    Args:
        path: A file of `spacy elmo lexicon`, or a model folder with static vectors; None: the bundled model.
            A saved pipeline contains the table.
    """
    return LexiconLayer(path)


def build_bigram_embed_v1(width: int = 64, rows: int = 20000) -> Model[list[Doc], list[Floats2d]]:
    """Build spacy-elmo.BigramEmbed.v1: an embedding of each token with the next one, learned with the task.

    Pairs of characters are the strongest single feature of Chinese word segmentation without pretraining,
    and of names (Zhang and Yang 2018, section 4.2). Shapes: List[Doc] -> List[Floats2d (n_tokens, width)].

    Args:
        width: Width of the embedding.
        rows: Rows of the hash table. With 20,000 rows, a few bigrams of a million characters share each row.
    """
    return BigramEmbed(width, rows)


def build_distilled_tagger_v1(
    upstream: str = "*",
    path: str | Path | None = None,
    bilm: Model[list[Doc], list[Floats3d]] | None = None,
) -> Model[list[Doc], list[Floats2d]]:
    """Build spacy-elmo.DistilledTagger.v1: states of a frozen tagger that reads the layers of "elmo".

    They are the states of a BiLSTM that was trained to predict the words, tags and entities of another
    analyzer. They help a task with few sentences to find the ends of words, their kinds, and names. Shapes:
    List[Doc] -> List[Floats2d (n_tokens, 2H)].

    Args:
        upstream: Name of the component "elmo"; "*": the nearest one before the consumer.
        path: A file of projects/zh_elmo/scripts/distill.py; None: the bundled tagger, which reads the layers
            of the bundled model. A saved pipeline contains the tagger.
        bilm: A spacy-elmo.BiLM.v1 of its own, instead of a component's; `nlp.replace_listeners` sets it.
    """
    tagger = DistilledTagger(path)
    return ElmoListener(tagger, upstream=upstream) if bilm is None else ElmoTok2Vec(bilm, tagger)


def build_bilstm_encoder_v1(
    width: int, precision: Precision = "auto"
) -> Model[list[Floats2d], list[Floats2d]]:
    """Build spacy-elmo.BiLSTMEncoder.v1, for the `encode` slot of spacy.Tok2Vec.v2.

    [training] dropout applies to the input. Shapes: List[Floats2d (n_tokens, nI)] -> List[Floats2d (n_tokens,
    width)].

    Args:
        width: Width of the output, both directions together. The input may have any width.
        precision: Type of the products with the input, "f32" or "bf16"; "auto": the fastest on this machine.
    """
    return BiLSTM(width, precision=precision)


def build_crf_tagger_v1(
    tok2vec: Model[list[Doc], list[Floats2d]], nO: int | None = None
) -> Model[list[Doc], list[Floats2d]]:
    """Build spacy-elmo.CRFTagger.v1, for "crf_ner" and "crf_tagger": scores of labels and transitions.

    Shapes: List[Doc] -> List[Floats2d (n_tokens, nO)].

    Args:
        tok2vec: For example a spacy.Tok2Vec.v2 with a BiLSTMEncoder.
        nO: Number of labels; the component sets it.
    """
    layer = CRFLayer(nO)
    model: Model[list[Doc], list[Floats2d]] = chain(tok2vec, layer)
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("crf", layer)
    return model


def build_lexical_analyzer_v1(tok2vec: Model[list[Doc], list[Floats2d]]) -> Model[Any, Any]:
    """Build spacy-elmo.LexicalAnalyzer.v1, for "lexical_analysis": an encoder and three heads with a CRF.

    Args:
        tok2vec: Encoder of characters, for example a spacy.Tok2Vec.v2 with a BiLSTMEncoder.
    """
    return LexicalAnalyzerModel(tok2vec)

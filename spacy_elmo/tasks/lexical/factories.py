"""The factory "lexical_analysis" with its default settings."""

from collections.abc import Sequence
from typing import Any

from spacy.language import Language
from thinc.api import Config, Model

from .analyzer import LexicalAnalyzer
from .dictionary import Word

DEFAULT_MODEL = """
[model]
@architectures = "spacy-elmo.LexicalAnalyzer.v1"

[model.tok2vec]
@architectures = "spacy.Tok2Vec.v2"

[model.tok2vec.embed]
@layers = "concatenate.v1"

[model.tok2vec.embed.*.hash]
@architectures = "spacy.MultiHashEmbed.v2"
width = 96
attrs = ["NORM", "SHAPE"]
rows = [5000, 500]
include_static_vectors = false

[model.tok2vec.embed.*.elmo]
@architectures = "spacy-elmo.ElmoListener.v1"
upstream = "*"
mix_dropout = 0.1
weight_penalty = 0.001
layer_norm = true
use_static_vectors = true

[model.tok2vec.embed.*.lexicon]
@architectures = "spacy-elmo.LexiconFeatures.v1"

[model.tok2vec.encode]
@architectures = "spacy-elmo.BiLSTMEncoder.v1"
width = 300
"""


@Language.factory(
    "lexical_analysis",
    assigns=["token.tag", "doc.ents", "token.ent_iob", "token.ent_type"],
    retokenizes=True,
    default_config={"model": Config().from_str(DEFAULT_MODEL)["model"], "dictionary": []},
    default_score_weights={"token_f": 0.4, "tag_acc": 0.3, "ents_f": 0.3, "token_acc": None},
)
def make_lexical_analyzer(
    nlp: Language, name: str, model: Model[Any, Any], dictionary: Sequence[Word]
) -> LexicalAnalyzer:
    """Create the component "lexical_analysis".

    model: a spacy-elmo.LexicalAnalyzer.v1. dictionary: words to keep whole, each a string or a list of the
    word, its tag and the label of its entity; see LexicalAnalyzer.add_words.
    """
    return LexicalAnalyzer(nlp.vocab, model, name, dictionary=dictionary)

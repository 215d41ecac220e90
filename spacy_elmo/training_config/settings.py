"""Every number of the configurations that `spacy elmo init-config` writes, `configs/` included.

After a change here, `python configs/write.py` writes `configs/` again; a test compares the two.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class HashEmbedding:
    """The task's own embedding of a token, spacy.MultiHashEmbed.v2."""

    width: int = 96
    attrs: tuple[str, ...] = ("NORM", "PREFIX", "SUFFIX", "SHAPE")
    rows: tuple[int, ...] = (5000, 2000, 2000, 500)


@dataclass(frozen=True)
class Listener:
    """Settings of a component's listener, spacy-elmo.ElmoListener.v1."""

    mix_dropout: float = 0.1
    weight_penalty: float = 0.001
    layer_norm: bool = True
    use_static_vectors: bool = True


@dataclass(frozen=True)
class BigramEmbedding:
    """An embedding of each token with the next one, spacy-elmo.BigramEmbed.v1."""

    width: int = 64
    rows: int = 20000


@dataclass(frozen=True)
class Encoder:
    """Input of a component: embedding, listener, lexicon features and the width of its BiLSTM.

    distilled_tagger: also the states of a small tagger, spacy-elmo.DistilledTagger.v1, which fits only the
    bundled model.
    """

    hash: HashEmbedding = HashEmbedding()
    listener: Listener = Listener()
    bigrams: BigramEmbedding | None = BigramEmbedding()
    lexicon: bool = True
    distilled_tagger: bool = True
    width: int = 300


@dataclass(frozen=True)
class Training:
    """The section [training], with the size of its batches."""

    dropout: float = 0.5
    max_steps: int = 4000
    eval_frequency: int = 100
    patience: int = 1000
    batch_words: int = 1000
    learn_rate: float = 0.002
    grad_clip: float = 1.0
    nlp_batch_size: int = 256


# A textcat averages its loss over docs: weight_penalty, which counts for each token, would outweigh it.
_OF_TEXTS = Encoder(listener=Listener(weight_penalty=0.0))

DEFAULT_ENCODER = Encoder()
ENCODERS = {
    "lexical_analysis": Encoder(hash=HashEmbedding(attrs=("NORM", "SHAPE"), rows=(5000, 500))),
    "textcat": _OF_TEXTS,
    "textcat_multilabel": _OF_TEXTS,
    "entity_linker": _OF_TEXTS,
}
"""By component; others have the default."""

DEFAULT_TRAINING = Training()
TRAININGS = {
    "lexical_analysis": Training(
        dropout=0.4, max_steps=6000, eval_frequency=500, patience=2000, batch_words=1500
    ),
}
"""By component: a pipeline has that of the first of its components which is named here, else the default."""

OUTPUT_WIDTH = 256
"""Width of the Maxout by which `spacy elmo add` gives ELMo to the output of a component."""

SPAN_SIZES = {"char": (1, 8), "word": (1, 4)}
"""Tokens of the spans that spancat looks at, where tokens are characters and where they are words."""


@dataclass(frozen=True)
class Reader:
    """Settings of the reader and of its training, which differ from those of the other components."""

    char_dim: int = 64
    hidden_size: int = 64
    n_highway: int = 2
    modeling_layers: int = 1
    end_layers: int = 0
    training_window: int = 320
    cache_mb: int = 6000
    negatives: float = 0.1
    dropout: float = 0.2
    max_steps: int = 1000
    eval_frequency: int = 200
    batch_characters: int = 5000
    buffer: int = 256
    beta2: float = 0.99
    warmup_steps: int = 50
    learn_rate: float = 0.003
    nlp_batch_size: int = 64


READER = Reader()

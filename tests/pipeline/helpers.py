"""Small random biLMs, and pipelines around them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import Vocab

# 行 is háng "bank, row" and xíng "to go"; 打 is to hit and to play.
SENTENCES = [
    ("我 去 银行 取 钱 。", "PN VV NN VV NN PU"),
    ("自行 车 很 快 。", "AD NN AD VA PU"),
    ("他 打 球 ， 我 打 字 。", "PN VV NN PU PN VV NN PU"),
    ("北京 的 银行 在 哪里 ？", "NR DEG NN P NN PU"),
    ("张三 爱 北京 。", "NR VV NR PU"),
]

POS = {"PN": "PRON", "VV": "VERB", "NN": "NOUN", "NR": "PROPN", "PU": "PUNCT"}
POS.update({"AD": "ADV", "VA": "ADJ", "DEG": "PART", "P": "ADP"})

CHARS = sorted({c for text, _ in SENTENCES for c in text if c != " "} | set("Linuxker0123 "))
WORDS = sorted({word for text, _ in SENTENCES for word in text.split()})

TOK2VEC = {
    "@architectures": "spacy.Tok2Vec.v2",
    "embed": {
        "@architectures": "spacy-elmo.ConcatEmbed.v1",
        "width": 16,
        "embed": {
            "@architectures": "spacy.MultiHashEmbed.v2",
            "width": 16,
            "attrs": ["NORM"],
            "rows": [200],
            "include_static_vectors": False,
        },
        "elmo": {"@architectures": "spacy-elmo.ElmoListener.v1"},
    },
    "encode": {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        "width": 16,
        "depth": 1,
        "window_size": 1,
        "maxout_pieces": 2,
    },
}
LISTENER_PATH = "model.tok2vec.embed.elmo"


def make_bilm(units: str = "char", *, projection_dim: int = 8, seed: int = 0, **settings) -> BiLM:
    """A biLM with random weights: D = 2 * projection."""
    torch.manual_seed(seed)
    defaults = {
        "hidden_size": 12,
        "max_sentence_length": 20,
        "segmenter": "jieba" if units == "word" else "char",
    }
    config = BiLMConfig(units=units, projection_dim=projection_dim, **{**defaults, **settings})
    return BiLM(config, Vocab(CHARS if units == "char" else WORDS)).eval()


def tok2vec(**listener) -> dict:
    """[model.tok2vec] of a consumer. listener: settings of its listener."""
    elmo = {**TOK2VEC["embed"]["elmo"], **listener}
    return {**TOK2VEC, "embed": {**TOK2VEC["embed"], "elmo": elmo}}


def tagger_config(**listener) -> dict:
    """Config of a tagger on ELMo."""
    return {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec(**listener)}}


def parser_config(state_type: str, **listener) -> dict:
    """Config of a parser or an entity recognizer on ELMo."""
    return {
        "model": {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": state_type,
            "extra_state_tokens": False,
            "hidden_width": 16,
            "maxout_pieces": 2,
            "use_upper": True,
            "tok2vec": tok2vec(**listener),
        }
    }


def examples(nlp: Language) -> list[Example]:
    """Chinese sentences with words, tags, entities and a dull tree."""
    out = []
    for text, tags in SENTENCES:
        words = text.split()
        doc = Doc(nlp.vocab, words=words, spaces=[False] * len(words))
        entities = ["U-LOC" if word == "北京" else "O" for word in words]
        gold = {
            "words": words,
            "tags": tags.split(),
            "pos": [POS[tag] for tag in tags.split()],
            "heads": [0] * len(words),
            "deps": ["ROOT"] + ["dep"] * (len(words) - 1),
            "entities": entities,
        }
        out.append(Example.from_dict(doc, gold))
    return out


def train(nlp: Language, steps: int = 5, *, drop: float = 0.1, **kwargs) -> dict[str, float]:
    """Initialize and update a few times. Returns the losses of the last step."""
    data = examples(nlp)
    optimizer = nlp.initialize(lambda: data)
    optimizer.learn_rate = 0.05
    losses: dict[str, float] = {}
    for _ in range(steps):
        losses = nlp.update(data, sgd=optimizer, drop=drop, **kwargs)
    return losses


def blank(model: Path, **settings) -> Language:
    """A Chinese pipeline with elmo alone."""
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": str(model)}, **settings})
    return nlp


TEXTS = ["我去银行取钱。自行车很快。", "", " ", "用 Linux kernel\n\n北京😀", "他打球，我打字。"]


def layers_of(nlp: Language, texts: Sequence[str] = TEXTS, **kwargs) -> list[np.ndarray]:
    """The vectors that nlp.pipe leaves on the texts."""
    return [doc._.elmo.layers for doc in nlp.pipe(texts, **kwargs)]


def assert_same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> None:
    """Equal but for rounding."""
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


def assert_tensor_is_mean(doc):
    np.testing.assert_array_equal(doc.tensor, doc._.elmo.mean)
    np.testing.assert_allclose(doc.vector, doc._.elmo.mean.mean(0), atol=1e-5)
    np.testing.assert_allclose(doc.vector_norm, np.linalg.norm(doc.vector), rtol=1e-5)

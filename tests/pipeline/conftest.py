"""Model folders and pipelines that the tests share."""

from pathlib import Path

import pytest
import spacy
import torch
from spacy.language import Language

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.pipeline.layers import packed_maxout

from .helpers import CHARS, blank, make_bilm, parser_config, tagger_config, train


@pytest.fixture(autouse=True)
def seeded():
    """Random weights are the same each time: what is learned in a few steps does not hang on luck."""
    spacy.util.fix_random_seed(0)


@pytest.fixture(scope="session")
def char_model(tmp_path_factory) -> Path:
    """Folder of a biLM of characters, D = 16."""
    path = tmp_path_factory.mktemp("models") / "char"
    make_bilm("char").save(path)
    return path


@pytest.fixture(scope="session")
def word_model(tmp_path_factory) -> Path:
    """Folder of a biLM of words, D = 16."""
    path = tmp_path_factory.mktemp("models") / "word"
    make_bilm("word").save(path)
    return path


@pytest.fixture(scope="session")
def wide_model(tmp_path_factory) -> Path:
    """Folder of a biLM of characters, D = 24."""
    path = tmp_path_factory.mktemp("models") / "wide"
    make_bilm("char", projection_dim=12, seed=1).save(path)
    return path


@pytest.fixture(scope="session")
def static_model(tmp_path_factory) -> Path:
    """Folder of a biLM of characters with static vectors, D = 16, S = 4."""
    path = tmp_path_factory.mktemp("models") / "static"
    settings = BiLMConfig(
        projection_dim=8, hidden_size=12, max_sentence_length=20, n_static_vectors=len(CHARS), static_dim=4
    )
    bilm = BiLM(settings, Vocab(CHARS, static=CHARS)).eval()
    bilm.static_vectors = torch.randn(len(CHARS), 4)
    bilm.save(path)
    return path


@pytest.fixture
def packings(monkeypatch) -> list:
    """One item for each time that the weights of a fused layer were packed."""
    made = []
    pack = packed_maxout.PackedMaxout
    monkeypatch.setattr(
        packed_maxout, "PackedMaxout", lambda *args, **kw: made.append(args) or pack(*args, **kw)
    )
    return made


@pytest.fixture
def elmo_nlp(char_model) -> Language:
    """elmo alone, of characters."""
    return blank(char_model)


@pytest.fixture
def tagger_nlp(elmo_nlp) -> Language:
    """elmo and a tagger, not initialized."""
    elmo_nlp.add_pipe("tagger", config=tagger_config())
    return elmo_nlp


@pytest.fixture(scope="session")
def trained(char_model, tmp_path_factory) -> Path:
    """Folder of a trained pipeline: elmo, tagger, ner."""
    spacy.util.fix_random_seed(0)
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config=tagger_config())
    nlp.add_pipe("ner", config=parser_config("ner"))
    train(nlp)
    path = tmp_path_factory.mktemp("pipelines") / "trained"
    nlp.to_disk(path)
    return path

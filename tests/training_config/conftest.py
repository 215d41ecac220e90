"""A tiny model, a tiny lexicon and a corpus with every kind of annotation."""

from pathlib import Path

import numpy as np
import pytest
import spacy
import torch
from spacy.kb import InMemoryLookupKB
from spacy.tokens import Doc, DocBin, Span

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.tasks.lexical.lexicon_features import lexicon_bytes, rounded_lexicon

NAMES = ["张三", "李四", "王五", "小李"]
PLACES = ["北京", "上海", "银行"]
TEXTS = [f"{name}去{place}。真好。" for name in NAMES for place in PLACES]
NER = """
[components.ner]
factory = "ner"

[components.ner.model]
@architectures = "spacy.TransitionBasedParser.v2"
state_type = "ner"
extra_state_tokens = false
hidden_width = 16
maxout_pieces = 2
use_upper = true
"""
"""Sections of an entity recognizer, without its tok2vec."""
QIDS = {name: f"Q{number}" for number, name in enumerate([*NAMES, *PLACES])}


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """Folder of a biLM of characters, D = 16."""
    torch.manual_seed(0)
    characters = sorted({character for text in TEXTS for character in text})
    path = tmp_path_factory.mktemp("models") / "char"
    BiLM(BiLMConfig(projection_dim=8, hidden_size=12), Vocab(characters)).eval().save(path)
    return path


@pytest.fixture(scope="session")
def lexicon(tmp_path_factory) -> Path:
    """A lexicon of a few words."""
    path = tmp_path_factory.mktemp("lexicons") / "words"
    words = [*NAMES, *PLACES]
    vectors = np.random.default_rng(0).normal(size=(len(words), 4))
    path.write_bytes(lexicon_bytes(rounded_lexicon(words, vectors, np.full(len(words), 9.0))))
    return path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Docs of characters, annotated for every component but lexical_analysis."""
    return save(tmp_path_factory.mktemp("corpora") / "characters.spacy", make_doc)


@pytest.fixture(scope="session")
def word_corpus(tmp_path_factory) -> Path:
    """Docs of words with tags and entities."""
    return save(tmp_path_factory.mktemp("corpora") / "words.spacy", make_word_doc)


@pytest.fixture(scope="session")
def knowledge_base(tmp_path_factory) -> Path:
    """Folder of a knowledge base with one entity for each name."""
    kb = InMemoryLookupKB(spacy.blank("zh").vocab, entity_vector_length=len(QIDS))
    for number, (name, entity) in enumerate(QIDS.items()):
        kb.add_entity(entity=entity, freq=10, entity_vector=[float(number == i) for i in range(len(QIDS))])
        kb.add_alias(alias=name, entities=[entity], probabilities=[0.9])
    path = tmp_path_factory.mktemp("kb") / "kb"
    kb.to_disk(path)
    return path


def save(path: Path, make) -> Path:
    vocab = spacy.blank("zh").vocab
    DocBin(docs=[make(vocab, text) for text in TEXTS], store_user_data=True).to_disk(path)
    return path


def make_doc(vocab, text: str) -> Doc:
    n = len(text)
    doc = Doc(
        vocab,
        words=list(text),
        spaces=[False] * n,
        tags=["PU" if character == "。" else "VV" if character in "去好" else "NN" for character in text],
        pos=["PUNCT" if character == "。" else "NOUN" for character in text],
        morphs=["Case=Nom"] * 2 + [""] * (n - 2),
        lemmas=list(text),
        heads=[2] * (n - 3) + [n - 2] * 3,
        deps=["nsubj", "nsubj", "ROOT"] + ["obj"] * (n - 7) + ["punct", "advmod", "ROOT", "punct"],
    )
    name, place = Span(doc, 0, 2, "PER", kb_id=QIDS[text[:2]]), Span(doc, 3, 5, "LOC", kb_id=QIDS[text[3:5]])
    doc.set_ents([name, place])
    doc.spans["sc"] = [name, place]
    is_bank = float(place.text == "银行")
    doc.cats = {"bank": is_bank, "town": 1.0 - is_bank}
    return doc


def make_word_doc(vocab, text: str) -> Doc:
    words = [text[:2], "去", text[3:5], "。", "真", "好", "。"]
    doc = Doc(vocab, words=words, spaces=[False] * 7, tags=["NR", "VV", "NR", "PU", "AD", "VA", "PU"])
    doc.set_ents([Span(doc, 0, 1, "PER"), Span(doc, 2, 3, "LOC")])
    return doc

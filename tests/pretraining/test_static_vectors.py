"""Static vectors in pretraining: which strings, from their neighbours, and what a parent's become."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spacy_elmo.inference import loading
from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.init import cooccurrence
from spacy_elmo.pretraining.init.cooccurrence import static_vectors
from spacy_elmo.pretraining.initialization import build_model
from spacy_elmo.pretraining.trainer import pretrain

from .helpers import MODEL, WORD_CORPUS_SETTINGS, make_corpus, make_settings


def corpus_of(folder, sentences) -> Corpus:
    make_corpus(folder / "corpus", "".join(f"{sentence}\n" for sentence in sentences))
    return Corpus(folder / "corpus")


def test_who_has_the_same_neighbours_is_near(tmp_path):
    names, verbs = ["甲", "丙丁"], ["戊", "庚辛"]
    sentences = [f"一{name}二{verb}三" for name in names for verb in verbs] * 3
    corpus = corpus_of(tmp_path, sentences)
    strings, vectors = static_vectors(corpus, Vocab(corpus.vocab().units, ngrams=["丙丁", "庚辛"]), 2)
    assert sorted(strings) == sorted({*"".join(sentences), "丙丁", "庚辛"})
    place = [strings.index(string) for string in (*names, *verbs)]
    near = torch.nn.functional.cosine_similarity(vectors[place[0]], vectors[place[1]], dim=0)
    far = torch.nn.functional.cosine_similarity(vectors[place[0]], vectors[place[2]], dim=0)
    assert near > 0.99
    assert far < 0.3
    torch.testing.assert_close(vectors.square().mean(1), torch.ones(len(strings)))


def test_in_chunks(tmp_path, monkeypatch):
    corpus = corpus_of(tmp_path, ["甲乙丙丁甲乙", "丙甲乙丁"] * 5)
    vocab = Vocab(corpus.vocab().units, ngrams=["甲乙", "丙丁", "乙丙丁"])
    strings, whole = static_vectors(corpus, vocab, 3)
    monkeypatch.setattr(cooccurrence, "CHUNK", 7)
    again, parts = static_vectors(corpus, vocab, 3)
    assert again == strings
    torch.testing.assert_close(parts, whole)


def test_a_run_has_as_many_as_the_corpus_gives(tmp_path):
    settings = make_settings(tmp_path)
    settings.model.update({**MODEL, "n_static_vectors": 12, "static_dim": 3})
    bilm = build_model(Corpus(tmp_path / "corpus"), settings)
    strings = bilm.vocab.static
    assert len(strings) == bilm.config.n_static_vectors == 12
    assert sum(len(string) == 1 for string in strings) == 6  # half of them at most
    assert all(set(string) <= set(bilm.vocab.units) for string in strings)
    assert bilm.static_vectors.shape == (12, 3)
    assert bilm.static_vectors.any(dim=1).all()
    settings.model["n_static_vectors"] = 10_000
    many = build_model(Corpus(tmp_path / "corpus"), settings)
    assert 12 < many.config.n_static_vectors < 10_000
    assert set(bilm.vocab.units[:6]) <= set(many.vocab.static)


def test_of_words(tmp_path):
    words = ["the", "cat", "dog", "sees", "hears"]
    lines = [f"the {who} {does} the bird\n" for who in words[1:3] for does in words[3:]]
    make_corpus(tmp_path / "corpus", "".join(lines * 3), **WORD_CORPUS_SETTINGS)
    settings = make_settings(tmp_path)
    settings.model.update({**MODEL, "n_static_vectors": 50, "static_dim": 3})
    bilm = build_model(Corpus(tmp_path / "corpus"), settings)
    assert sorted(bilm.vocab.static) == sorted([*words, "bird"])
    cat, dog, sees, none = bilm.static_vectors_of(["cat", "dog", "sees", "a"])
    assert cat @ dog > 0.99 * cat @ cat
    assert cat @ sees < 0.5 * cat @ cat
    assert not none.any()
    settings.model["n_static_vectors"] = 2
    few = build_model(Corpus(tmp_path / "corpus"), settings)
    assert few.vocab.static == few.vocab.units[:2]


def test_they_stay_through_a_run_and_go_on_to_the_next(tmp_path):
    settings = make_settings(tmp_path)
    settings.model.update({**MODEL, "n_static_vectors": 12, "static_dim": 3})
    begun = build_model(Corpus(tmp_path / "corpus"), settings)
    settings = replace(settings, training=replace(settings.training, max_steps=3, save_dtype="float32"))
    pretrain(settings, tmp_path / "run")
    trained = loading.load(tmp_path / "run" / "model")
    assert trained.vocab.static == begun.vocab.static
    np.testing.assert_array_equal(trained.static_vectors, begun.static_vectors)
    # On other text: those of the parent, unless the run asks for its own.
    make_corpus(tmp_path / "other", "甲丙戊庚壬。乙丁己辛癸。\n" * 20)
    paths = replace(settings.paths, train=str(tmp_path / "other"), init_from=str(tmp_path / "run" / "model"))
    child = build_model(Corpus(tmp_path / "other"), replace(settings, paths=paths, model={}))
    assert child.vocab.static == trained.vocab.static
    np.testing.assert_array_equal(child.static_vectors, trained.static_vectors)
    same = build_model(Corpus(tmp_path / "other"), replace(settings, paths=paths))  # as many, as wide
    np.testing.assert_array_equal(same.static_vectors, trained.static_vectors)
    own = build_model(
        Corpus(tmp_path / "other"), replace(settings, paths=paths, model={"n_static_vectors": 8})
    )
    assert 4 < own.config.n_static_vectors == len(own.vocab.static) <= 8
    assert not set(own.vocab.static) <= set(trained.vocab.static)
    assert "甲丙" in own.vocab.static or "丙戊" in own.vocab.static
    none = build_model(
        Corpus(tmp_path / "other"), replace(settings, paths=paths, model={"n_static_vectors": 0})
    )
    assert none.static_vectors is None
    assert none.vocab.static == []


@pytest.mark.parametrize("width", [2, 5])
def test_another_width_is_counted_anew(tmp_path, width):
    settings = make_settings(tmp_path)
    settings.model.update({**MODEL, "n_static_vectors": 12, "static_dim": 3})
    parent = build_model(Corpus(tmp_path / "corpus"), settings)
    parent.save(tmp_path / "parent")
    paths = replace(settings.paths, init_from=str(tmp_path / "parent"))
    child = build_model(
        Corpus(tmp_path / "corpus"), replace(settings, paths=paths, model={"static_dim": width})
    )
    assert child.static_vectors.shape == (12, width)
    assert child.static_vectors.any()

"""Vectors of n-grams from their neighbours: against counting by hand, and what they are for."""

from collections import Counter

import numpy as np
import pytest
import torch

from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.corpus_builder import write_corpus
from spacy_elmo.pretraining.init import cooccurrence
from spacy_elmo.pretraining.init.cooccurrence import ppmi_svd_vectors
from spacy_elmo.pretraining.initialization import build_model

from .helpers import CORPUS_SETTINGS, MODEL, make_settings

UNITS = list("甲乙丙丁戊")


def corpus_of(folder, sentences) -> tuple[Corpus, list[str]]:
    write_corpus(folder / "corpus", [list(s) for s in sentences], settings=CORPUS_SETTINGS)
    corpus = Corpus(folder / "corpus")
    return corpus, corpus.vocab().units


def naive_information(sentences, ngrams) -> np.ndarray:
    """The matrix with a Counter for each place."""
    text = "|" + "|".join(sentences) + "|"
    places = []
    for far, wide in ((1, 1), (2, 1), (1, 2)):
        for behind in (True, False):
            counts = Counter()
            for x in ngrams:
                for i in range(len(text) - len(x) + 1):
                    if text[i : i + len(x)] == x:
                        at = i + len(x) + far - 1 if behind else i - far - (wide - 1)
                        beside = text[at : at + wide] if at >= 0 else ""
                        # Sentences end with a border, and before the first one there is nothing.
                        if 1 <= at <= len(text) - wide:
                            counts[x, beside] += 1
            places.append(counts)
    columns = []
    for counts in places:
        names = sorted({c for _, c in counts})
        table = np.array([[float(counts[x, c]) for c in names] for x in ngrams])
        smooth = table.sum(0) ** 0.75
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.log(table * smooth.sum() / table.sum(1, keepdims=True) / smooth)
        columns.append(np.where(table > 0, np.maximum(value, 0), 0))
    return np.concatenate(columns, 1)


def test_as_counted_by_hand(tmp_path):
    drawn = np.random.default_rng(0)
    sentences = ["".join(drawn.choice(UNITS, size=n)) for n in drawn.integers(2, 9, 40)]
    corpus, units = corpus_of(tmp_path, sentences)
    ngrams = ["甲乙", "丙丁", "甲乙丙", "丁戊甲", "乙乙"]
    found = ppmi_svd_vectors(corpus, Vocab(units, ngrams=ngrams), 5).double()
    u, s, _ = np.linalg.svd(naive_information(sentences, ngrams), full_matrices=False)
    wanted = torch.from_numpy(u * np.sqrt(s))
    # The products of vectors say everything: a direction may be turned round.
    wanted *= found.norm() / wanted.norm()
    torch.testing.assert_close(found @ found.T, wanted @ wanted.T, atol=1e-4, rtol=1e-4)


def test_who_has_the_same_neighbours_is_near(tmp_path):
    names, verbs = ["甲乙", "丙丁"], ["戊己", "庚辛"]
    sentences = [f"一{name}二{verb}三" for name in names for verb in verbs]
    corpus, units = corpus_of(tmp_path, sentences * 3)
    vectors = ppmi_svd_vectors(corpus, Vocab(units, ngrams=names + verbs), 2)
    near = torch.nn.functional.cosine_similarity(vectors[0], vectors[1], dim=0)
    far = torch.nn.functional.cosine_similarity(vectors[0], vectors[2], dim=0)
    assert near > 0.99
    assert far < 0.1


def test_the_same_twice_and_zeros_for_what_is_missing(tmp_path):
    corpus, units = corpus_of(tmp_path, ["甲乙丙", "丙乙甲", "甲乙丁"])
    vocab = Vocab(units, ngrams=["甲乙", "丁丁", "丙乙"])
    vectors = ppmi_svd_vectors(corpus, vocab, 4)
    assert torch.equal(vectors, ppmi_svd_vectors(corpus, vocab, 4))
    assert vectors.shape == (3, 4)
    assert vectors[[0, 2]].any(dim=1).all()
    assert not vectors[1].any()
    assert not ppmi_svd_vectors(corpus, Vocab(units, ngrams=["丁丁"]), 4).any()


def test_in_chunks(tmp_path, monkeypatch):
    corpus, units = corpus_of(tmp_path, ["甲乙丙丁甲乙", "丙甲乙丁"] * 5)
    vocab = Vocab(units, ngrams=["甲乙", "丙丁", "乙丙丁"])
    whole = ppmi_svd_vectors(corpus, vocab, 3)
    monkeypatch.setattr(cooccurrence, "CHUNK", 7)
    torch.testing.assert_close(ppmi_svd_vectors(corpus, vocab, 3), whole)


@pytest.mark.parametrize("width", [None, 3])
def test_a_run_begins_with_them(tmp_path, width):
    settings = make_settings(tmp_path)
    settings.model.update({**MODEL, "n_ngrams": 6, "ngram_dim": width})
    corpus = Corpus(tmp_path / "corpus")
    bilm = build_model(corpus, settings)
    wanted = ppmi_svd_vectors(corpus, bilm.vocab, width or MODEL["projection_dim"])
    assert torch.equal(bilm.token_encoder.ngram_embedding.weight[1:], wanted)
    assert wanted.any()

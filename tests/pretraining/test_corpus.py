"""Corpora on disk: what was written comes back, damage is named, nothing half-made is left."""

import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.atomic_io import OutputError
from spacy_elmo.errors import CorpusError
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.corpus_builder import write_corpus

from .helpers import CORPUS_SETTINGS

SENTENCES = [["我", "爱", "我"], ["北京"], ["我", "爱", "狗", "。"], ["。"]]
units = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1, max_size=3)


@pytest.fixture
def folder(tmp_path) -> Path:
    write_corpus(tmp_path / "corpus", SENTENCES, settings=CORPUS_SETTINGS, shard_units=4)
    return tmp_path / "corpus"


def text_of(corpus: Corpus) -> list[list[str]]:
    names = [unit for unit, _ in corpus.counts()]
    return [[names[rank] for rank in corpus[i]] for i in range(len(corpus))]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(units, min_size=1, max_size=8), min_size=1, max_size=12), st.integers(1, 30))
def test_what_is_written_comes_back(sentences, shard_units):
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "corpus"
        manifest = write_corpus(path, iter(sentences), settings=CORPUS_SETTINGS, shard_units=shard_units)
        corpus = Corpus(path)
        assert text_of(corpus) == sentences
        assert corpus.lengths.tolist() == [len(s) for s in sentences]
        assert corpus.manifest == manifest == json.loads((path / "manifest.json").read_bytes())
        expected = Counter(unit for s in sentences for unit in s)
        assert dict(corpus.counts()) == expected
        found = [count for _, count in corpus.counts()]
        assert found == sorted(found, reverse=True)
        assert manifest["tokens"] == sum(found)
        assert manifest["types"] == len(found)
        assert manifest["sentences"] == len(sentences)
        assert len(manifest["shards"]) <= manifest["tokens"]


def test_shards_hold_what_they_should(folder):
    manifest = Corpus(folder).manifest
    assert [shard["sentences"] for shard in manifest["shards"]] == [2, 1, 1]
    assert [shard["tokens"] for shard in manifest["shards"]] == [4, 4, 1]
    assert {key: manifest[key] for key in CORPUS_SETTINGS} == CORPUS_SETTINGS
    files = {name for shard in manifest["shards"] for name in shard["sha256"]}
    assert {p.name for p in folder.iterdir()} == files | {"manifest.json", "vocab_counts.tsv"}


def test_vocabularies(folder):
    corpus = Corpus(folder)
    assert corpus.counts() == [("我", 3), ("爱", 2), ("。", 2), ("北京", 1), ("狗", 1)]
    assert corpus.vocab().units == ["我", "爱", "。", "北京", "狗"]
    assert corpus.vocab(min_count=2).units == ["我", "爱", "。"]
    assert corpus.vocab(max_size=2).units == ["我", "爱"]
    assert corpus.vocab(min_count=3, max_size=2).units == ["我"]
    assert corpus.vocab().characters == []
    assert set(corpus.vocab(max_size=4, spelled=True).characters) == set("我爱。北京")
    assert corpus.vocab().fold_fullwidth
    with pytest.raises(CorpusError, match="occurs 4 times: lower min_count"):
        corpus.vocab(min_count=4)


def test_the_same_text_gives_the_same_corpus(folder, tmp_path):
    write_corpus(tmp_path / "other", SENTENCES, settings=CORPUS_SETTINGS, shard_units=4)
    assert Corpus(folder).digest == Corpus(tmp_path / "other").digest
    write_corpus(tmp_path / "other", SENTENCES[1:], settings=CORPUS_SETTINGS, shard_units=4)
    assert Corpus(folder).digest != Corpus(tmp_path / "other").digest


def test_an_empty_corpus_writes_nothing(tmp_path):
    with pytest.raises(CorpusError, match="input has no sentences"):
        write_corpus(tmp_path / "deep" / "corpus", [], settings=CORPUS_SETTINGS)
    assert os.listdir(tmp_path) == []


def test_an_interrupted_run_leaves_what_was_there(folder):
    def sentences():
        yield from SENTENCES * 10
        raise KeyboardInterrupt

    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for path in (folder, folder.parent / "new"):
        with pytest.raises(KeyboardInterrupt):
            write_corpus(path, sentences(), settings=CORPUS_SETTINGS, shard_units=4)
    assert os.listdir(folder.parent) == ["corpus"]
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_foreign_folder_is_refused_before_the_work(tmp_path):
    (tmp_path / "thesis.doc").write_bytes(b"")

    def sentences():
        pytest.fail("the work has begun")
        yield []

    with pytest.raises(OutputError, match="it holds other files"):
        write_corpus(tmp_path, sentences(), settings=CORPUS_SETTINGS)
    with pytest.raises(OutputError, match="it is a file"):
        write_corpus(tmp_path / "thesis.doc", sentences(), settings=CORPUS_SETTINGS)
    assert os.listdir(tmp_path) == ["thesis.doc"]


def test_an_older_corpus_is_replaced(folder):
    write_corpus(folder, [["新"]], settings=CORPUS_SETTINGS)
    assert text_of(Corpus(folder)) == [["新"]]


# damage


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"5", b"\xff", b'{"format_version": "x"}'])
def test_a_manifest_that_is_none(folder, data):
    (folder / "manifest.json").write_bytes(data)
    with pytest.raises(CorpusError, match=r"manifest.json of .* is damaged"):
        Corpus(folder)


@pytest.mark.parametrize("key", [*CORPUS_SETTINGS, "shards", "types", "format_version"])
def test_a_manifest_that_lacks_something(folder, key):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    del manifest[key]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorpusError, match=r"manifest.json of .* is damaged"):
        Corpus(folder)


@pytest.mark.parametrize(
    "shards", [[], [5], [{}], None, [{"tokens": 1, "sentences": 1, "sha256": {}}]], ids=str
)
def test_a_manifest_of_strange_shards(folder, shards):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "shards": shards}))
    with pytest.raises(CorpusError, match=r"manifest.json of .* is damaged"):
        Corpus(folder)


def test_a_newer_format(folder):
    (folder / "manifest.json").write_text('{"format_version": 2, "pieces": []}')
    with pytest.raises(CorpusError, match="newer spacy-elmo: update spacy-elmo"):
        Corpus(folder)


def test_no_corpus_at_all(tmp_path, folder):
    for path in (tmp_path, tmp_path / "nowhere", folder / "manifest.json"):
        with pytest.raises(CorpusError, match="is not a corpus folder"):
            Corpus(path)


@pytest.mark.parametrize("kind", ["ids", "lengths"])
def test_damaged_shards(folder, kind):
    path = folder / f"shard-00001.{kind}.npy"
    data = path.read_bytes()
    wrong = folder / "wrong.npy"
    np.save(wrong, np.zeros(77, dtype=np.int32))
    for damaged in (data[:-4], data[:20], b"", b"nonsense", wrong.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(CorpusError, match=f"shard-00001.{kind}.npy is .*damaged"):
            Corpus(folder)
    path.unlink()
    with pytest.raises(CorpusError, match=f"shard-00001.{kind}.npy is missing"):
        Corpus(folder)


def test_lengths_that_do_not_add_up(folder):
    np.save(folder / "shard-00000.lengths.npy", np.array([3, 2], dtype=np.int32))
    with pytest.raises(CorpusError, match=r"lengths.npy is damaged"):
        Corpus(folder)


def test_shards_are_never_unpickled(folder):
    np.save(folder / "shard-00000.ids.npy", np.array([{"a": 1}] * 4, dtype=object), allow_pickle=True)
    with pytest.raises(CorpusError, match="damaged"):
        Corpus(folder)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\t1\n", "我\n".encode(), "我\tviele\n".encode(), "我\t3\n".encode()]
)
def test_damaged_counts(folder, data):
    (folder / "vocab_counts.tsv").write_bytes(data)
    with pytest.raises(CorpusError, match=r"vocab_counts.tsv is .*damaged"):
        Corpus(folder).vocab()


def test_missing_counts(folder):
    (folder / "vocab_counts.tsv").unlink()
    with pytest.raises(CorpusError, match=r"vocab_counts.tsv is missing"):
        Corpus(folder).vocab()

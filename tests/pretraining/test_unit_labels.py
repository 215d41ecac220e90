"""Labels of a corpus's units: the folder, and batches with them."""

import json

import numpy as np
import pytest

from spacy_elmo.errors import CorpusError, OutputError
from spacy_elmo.modeling.token_encoder import LabelledBatch
from spacy_elmo.modeling.vocab import SPECIALS
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.dataloader import BatchLoader, LoaderState
from spacy_elmo.pretraining.data.unit_labels import UnitLabels, write_unit_labels

from .helpers import (
    CYCLE,
    LABELS,
    cyclic_text,
    make_corpus,
    parity,
)


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    return Corpus(make_corpus(tmp_path / "corpus", cyclic_text(40)))


def test_labels_are_read_as_they_were_written(corpus, tmp_path):
    written = parity(corpus)
    write_unit_labels(tmp_path / "labels", corpus, LABELS, iter(written))
    read = UnitLabels(tmp_path / "labels", corpus, verify=True)
    assert read.names == LABELS
    assert [read[i].tolist() for i in range(len(corpus))] == written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "There are labels for 39 sentences only"),
        (lambda rows: [*rows, [0]], "more than the 40 sentences"),
        (lambda rows: [rows[0][:-1], *rows[1:]], "Sentence 0 has"),
        (
            lambda rows: [*rows[:3], [2] * len(rows[3]), *rows[4:]],
            "A label of sentence 3 is not between -1 and 1",
        ),
        (lambda rows: [[-2] * len(rows[0]), *rows[1:]], "A label of sentence 0"),
        (lambda rows: [[0.5] * len(rows[0]), *rows[1:]], "Sentence 0 needs a whole number for each unit"),
        (lambda rows: [["a"] * len(rows[0]), *rows[1:]], "Sentence 0 needs a whole number"),
        (lambda rows: [[None] * len(rows[0]), *rows[1:]], "Sentence 0 needs a whole number"),
        (lambda rows: [[rows[0]], *rows[1:]], "Sentence 0 needs a whole number"),
        (lambda rows: [[[1], [1, 2]], *rows[1:]], "Sentence 0 needs a whole number"),
    ],
)
def test_labels_that_do_not_fit_leave_nothing(corpus, tmp_path, change, message):
    with pytest.raises(CorpusError, match=message):
        write_unit_labels(tmp_path / "labels", corpus, LABELS, change(parity(corpus)))
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


@pytest.mark.parametrize("names", [[], [1, 2], ["odd", "odd"]])
def test_names_that_are_none_are_refused(corpus, tmp_path, names):
    with pytest.raises(CorpusError, match=r"There are 0 labels|must be texts, each of them once"):
        write_unit_labels(tmp_path / "labels", corpus, names, parity(corpus))
    assert not (tmp_path / "labels").exists()


def test_another_folder_is_not_replaced(corpus, tmp_path):
    with pytest.raises(OutputError, match="it holds other files"):
        write_unit_labels(tmp_path / "corpus", corpus, LABELS, parity(corpus))
    assert Corpus(tmp_path / "corpus").digest == corpus.digest


def test_labels_of_another_corpus_are_refused(corpus, tmp_path):
    write_unit_labels(tmp_path / "labels", corpus, LABELS, parity(corpus))
    other = Corpus(make_corpus(tmp_path / "other", cyclic_text(41)))
    with pytest.raises(CorpusError, match="labels another corpus"):
        UnitLabels(tmp_path / "labels", other)
    for path in (tmp_path / "nothing", tmp_path / "corpus"):
        with pytest.raises(CorpusError, match="is not a folder of labels"):
            UnitLabels(path, corpus)


MANIFESTS = {
    "no JSON": b"{",
    "a list": b"[]",
    "names that are numbers": {"names": [1, 2]},
    "no names": {"names": []},
    "names as a text": {"names": "even"},
    "shards that are missing": {"shards": []},
    "a corpus that is a number": {"corpus": 3},
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_damaged_manifest_is_refused(corpus, tmp_path, change):
    write_unit_labels(tmp_path / "labels", corpus, LABELS, parity(corpus))
    file = tmp_path / "labels" / "manifest.json"
    data = (
        change
        if isinstance(change, bytes)
        else json.dumps({**json.loads(file.read_bytes()), **change}).encode()
    )
    file.write_bytes(data)
    with pytest.raises(CorpusError, match="are damaged: make them again"):
        UnitLabels(tmp_path / "labels", corpus)


def test_labels_of_a_later_version_are_refused(corpus, tmp_path):
    write_unit_labels(tmp_path / "labels", corpus, LABELS, parity(corpus))
    file = tmp_path / "labels" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "format_version": 2}))
    with pytest.raises(CorpusError, match="newer spacy-elmo"):
        UnitLabels(tmp_path / "labels", corpus)


def test_a_damaged_shard_is_refused(corpus, tmp_path):
    write_unit_labels(tmp_path / "labels", corpus, LABELS, parity(corpus))
    file = tmp_path / "labels" / "shard-00000.labels.npy"
    values = np.load(file)
    np.save(file, np.full_like(values, 2))
    with pytest.raises(CorpusError, match="damaged"):
        UnitLabels(tmp_path / "labels", corpus, verify=True)
    read = UnitLabels(tmp_path / "labels", corpus)
    with pytest.raises(CorpusError, match="damaged"):
        read[0]
    for damaged in (values[:-1], values.astype(np.int64), values.astype(object)):
        np.save(file, damaged, allow_pickle=True)
        with pytest.raises(CorpusError, match="damaged"):
            UnitLabels(tmp_path / "labels", corpus)


def test_a_batch_has_the_labels_of_its_units(corpus, tmp_path):
    write_unit_labels(tmp_path / "labels", corpus, LABELS, parity(corpus))
    vocab = corpus.vocab()
    loader = BatchLoader(corpus, vocab, batch_tokens=100, labels=UnitLabels(tmp_path / "labels", corpus))
    batch, _ = next(loader.iter_from(LoaderState()))
    assert isinstance(batch, LabelledBatch)
    for ids, labels, n in zip(batch.input_ids, batch.labels, batch.lengths, strict=True):
        units = [vocab.units[i - len(SPECIALS)] for i in ids[1 : n - 1]]
        expected = [CYCLE.index(unit) % 2 if unit in CYCLE else -1 for unit in units]
        assert labels.tolist() == [-1, *expected, *[-1] * (len(labels) - int(n) + 1)]

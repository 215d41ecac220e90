"""Words of pkuseg, by a model that is trained here: its named ones are downloads."""

import shutil
import sys
from pathlib import Path

import pytest
import spacy

from spacy_elmo.errors import CorpusError
from spacy_elmo.pretraining.data import corpus_builder
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.corpus_builder import SegmentationSettings, build_corpus
from spacy_elmo.pretraining.data.segmentation import make_segmenter
from spacy_elmo.text import normalize

LINES = ["我 爱 北京", "北京 天安门", "他 说 你好 。"]
TEXT = "".join(f"他说我爱北京天安门。你好　ＷＴＯ{i}。\n我爱 你{i}。\n" for i in range(100))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    pkuseg = pytest.importorskip("spacy_pkuseg", reason="spacy-pkuseg is not installed")
    folder = tmp_path_factory.mktemp("pkuseg")
    (folder / "train.txt").write_text("\n".join(LINES * 20) + "\n", encoding="utf8")
    pkuseg.train(str(folder / "train.txt"), str(folder / "train.txt"), str(folder / "model"), train_iter=3)
    return folder / "model"


@pytest.fixture
def text(tmp_path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf8")
    return tmp_path / "text.txt"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_words_are_those_of_spacys_tokenizer(model, tmp_path):
    nlp = spacy.blank("zh", config={"nlp": {"tokenizer": {"segmenter": "pkuseg"}}})
    nlp.tokenizer.initialize(pkuseg_model=str(model))
    nlp.to_disk(tmp_path / "pipeline")
    for line in TEXT.splitlines()[:2]:
        expected = [normalize(token.text) for token in nlp(line) if not token.is_space]
        assert "北京" in expected or "爱" in expected
        for name in (f"pkuseg:{model}", str(tmp_path / "pipeline")):
            assert make_segmenter("word", name, "zh")(line) == expected


def test_jobs_and_restarts_give_the_same_bytes(model, text, tmp_path, monkeypatch):
    cut = SegmentationSettings(units="word", segmenter=f"pkuseg:{model}")
    for jobs in (1, 2):
        manifest = build_corpus([text], tmp_path / f"corpus{jobs}", cut, n_process=jobs, block=500)
    assert files_of(tmp_path / "corpus1") == files_of(tmp_path / "corpus2")
    assert manifest["segmenter"] == f"pkuseg:{model}"
    assert {"spacy", "spacy-pkuseg", "sha256"} == manifest["versions"].keys()
    assert "天安门" in dict(Corpus(tmp_path / "corpus1").counts())

    made, original = [], corpus_builder.process_block

    def cut_some(*call):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(call)
        return original(*call)

    monkeypatch.setattr(corpus_builder, "process_block", cut_some)
    with pytest.raises(KeyboardInterrupt):
        build_corpus([text], tmp_path / "corpus3", cut, block=500)
    assert len(list((tmp_path / ".corpus3.partial").iterdir())) == 3
    monkeypatch.setattr(corpus_builder, "process_block", lambda *call: made.append(call) or original(*call))
    build_corpus([text], tmp_path / "corpus3", cut, block=500)
    assert len(made) == len(manifest["shards"])  # three before, the others after
    assert files_of(tmp_path / "corpus3") == files_of(tmp_path / "corpus1")


def test_a_model_that_changed_is_another_cut(model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    cut = SegmentationSettings(units="word", segmenter=f"pkuseg:{tmp_path / 'model'}")
    before = cut.versions()
    weights = tmp_path / "model" / "weights.npz"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert cut.versions() != before


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_what_is_no_model(tmp_path, name):
    pytest.importorskip("spacy_pkuseg", reason="spacy-pkuseg is not installed")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=f"{name} is not a model of pkuseg .*or one of .*news") as caught:
        make_segmenter("word", f"pkuseg:{tmp_path / name}", "zh")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pkuseg", "pkuseg:news"])
def test_a_named_model_that_cannot_be_fetched(monkeypatch, name):
    pkuseg = pytest.importorskip("spacy_pkuseg", reason="spacy-pkuseg is not installed")

    def unreachable(*args, **kwargs):
        raise ConnectionError("a long story\nof several lines")

    monkeypatch.setattr(pkuseg, "download_model", unreachable)
    with pytest.raises(
        CorpusError, match=r"at first use.*ConnectionError.*--segmenter pkuseg:FOLDER"
    ) as caught:
        make_segmenter("word", name, "zh")
    assert "\n" not in str(caught.value)


def test_pkuseg_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy_pkuseg", None)
    monkeypatch.setitem(sys.modules, "spacy_pkuseg.config", None)
    with pytest.raises(CorpusError, match=r"not installed: pip install 'spacy-elmo\[pkuseg\]'"):
        make_segmenter("word", "pkuseg:anywhere", "zh")

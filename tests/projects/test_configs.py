"""The training configs: a fair comparison, and what regularises what."""

import runpy
from copy import deepcopy
from pathlib import Path

import pytest
import spacy
from spacy.cli.train import train
from spacy.tokens import Doc, DocBin
from thinc.api import Config
from typer.testing import CliRunner

from spacy_elmo.cli.commands import app

ROOT = Path(__file__).parents[2]
TASKS = ["tagger", "ner"]
DTYPE_NAMES = [f"{task}{suffix}" for task in TASKS for suffix in ("", "_baseline")] + ["lexical"]


def read(name):
    return Config().from_disk(ROOT / "configs" / f"{name}.cfg", interpolate=False)


def written_by_command():
    """Name of each config of `spacy elmo init-config` -> the arguments in it."""
    command_in = runpy.run_path(str(ROOT / "configs" / "write.py"))["command_in"]
    found = {path.stem: command_in(path) for path in sorted((ROOT / "configs").glob("*.cfg"))}
    return {name: arguments for name, arguments in found.items() if arguments}


@pytest.mark.parametrize("name", [*DTYPE_NAMES, "reader", "reader_baseline"])
def test_is_what_the_command_writes(name, tmp_path, monkeypatch):
    arguments = written_by_command()[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    written = (tmp_path / "configs" / f"{name}.cfg").read_text(encoding="utf8")
    assert written == (ROOT / "configs" / f"{name}.cfg").read_text(encoding="utf8")


@pytest.mark.parametrize("task", TASKS)
def test_the_baseline_is_the_same_without_elmo(task):
    elmo, baseline = read(task), read(f"{task}_baseline")
    without = deepcopy(elmo)
    del without["components"]["elmo"]
    without["nlp"]["pipeline"] = [task]
    tok2vec = without["components"][task]["model"]["tok2vec"]
    parts = tok2vec["embed"]["*"]
    assert set(parts) - {"bigrams"} == {"hash", "elmo", "lexicon", "tagger"}
    for name in ("elmo", "lexicon", "tagger"):
        del parts[name]
    if "bigrams" not in parts:  # tokens are words
        tok2vec["embed"] = parts["hash"]
    assert without == baseline


@pytest.mark.parametrize("name", DTYPE_NAMES)
def test_paths_lead_into_the_project(name):
    paths = read(name)["paths"]
    assert paths["train"] == "projects/zh_elmo/corpus/train.spacy"
    assert paths["dev"] == "projects/zh_elmo/corpus/dev_sample.spacy"


@pytest.mark.parametrize("task", TASKS)
def test_l2_weight_decay_and_dropout_are_separate(task):
    config = read(task)
    mix = config["components"][task]["model"]["tok2vec"]["embed"]["*"]["elmo"]
    assert (mix["mix_dropout"], mix["weight_penalty"]) == (0.1, 0.001)
    assert config["training"]["optimizer"]["L2"] == 0.0  # it would decay the mix too
    assert config["training"]["frozen_components"] == []
    assert config["training"]["annotating_components"] == []


@pytest.fixture
def corpus(tmp_path):
    """Four sentences with tags and entities."""
    nlp = spacy.blank("zh")
    docs = DocBin()
    for name in ("江泽民", "邓小平", "周恩来", "毛泽东"):
        doc = Doc(
            nlp.vocab, words=[name, "在", "北京", "。"], spaces=[False] * 4, tags=["nr", "p", "ns", "w"]
        )
        doc.set_ents([doc.char_span(0, 3, "PER"), doc.char_span(4, 6, "LOC")])
        docs.add(doc)
    docs.to_disk(tmp_path / "corpus.spacy")
    return tmp_path / "corpus.spacy"


@pytest.mark.parametrize("name", DTYPE_NAMES)
def test_trains_as_it_stands(name, corpus, tmp_path):
    overrides = {
        "paths.train": str(corpus),
        "paths.dev": str(corpus),
        "training.max_steps": 3,
        "training.eval_frequency": 3,
    }
    train(ROOT / "configs" / f"{name}.cfg", tmp_path / "out", overrides=overrides)
    nlp = spacy.load(tmp_path / "out" / "model-last")
    assert nlp.pipe_names == read(name)["nlp"]["pipeline"]
    doc = nlp(Doc(nlp.vocab, words=["江泽民", "在", "北京"], spaces=[False] * 3))
    assert doc.has_annotation("ENT_IOB" if "ner" in name else "TAG")


@pytest.mark.parametrize("task", TASKS)
def test_on_a_transformer(task, tmp_path):
    """To the end of a training, on a BERT of random weights."""
    transformers = pytest.importorskip("transformers", reason="spacy-transformers is not installed")
    pytest.importorskip("spacy_transformers", reason="spacy-transformers is not installed")
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"他去北京。"])
    )
    sizes = {"vocab_size": 10, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**sizes, intermediate_size=16)
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    vocab = spacy.blank("zh").vocab
    docs = DocBin()
    for _ in range(8):
        docs.add(
            Doc(vocab, words=list("他去北京。"), tags=[*"abccd"], ents=["O", "O", "B-LOC", "I-LOC", "O"])
        )
    docs.to_disk(tmp_path / "data.spacy")
    overrides = {
        "paths.train": str(tmp_path / "data.spacy"),
        "paths.dev": str(tmp_path / "data.spacy"),
        "components.transformer.model.name": str(tmp_path / "bert"),
        "training.max_steps": 4,
        "training.eval_frequency": 2,
    }
    train(ROOT / "configs" / f"{task}_trf.cfg", tmp_path / "out", overrides=overrides)
    nlp = spacy.load(tmp_path / "out" / "model-last")
    assert nlp.pipe_names == ["transformer", task]
    assert len(nlp("他去北京。")) == 5

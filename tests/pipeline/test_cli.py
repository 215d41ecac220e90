"""spaCy's own commands on pipelines with elmo: train, evaluate, assemble, package, debug, sourcing."""

import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import spacy
import srsly
from spacy.cli.assemble import assemble_cli
from spacy.cli.debug_config import debug_config
from spacy.cli.evaluate import evaluate
from spacy.cli.package import package
from spacy.cli.train import train as spacy_train
from spacy.tokens import DocBin

from spacy_elmo.inference import loading

from .helpers import blank, examples, tagger_config

TEXTS = ["我去银行取钱。", "张三爱北京。"]


@pytest.fixture
def corpus(tmp_path, elmo_nlp):
    path = tmp_path / "corpus.spacy"
    DocBin(docs=[eg.reference for eg in examples(elmo_nlp)]).to_disk(path)
    return path


@pytest.fixture
def config(tmp_path, char_model, corpus):
    """A filled config file for a tagger on elmo."""
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config=tagger_config())
    config = nlp.config.copy()
    config["paths"].update(train=str(corpus), dev=str(corpus))
    config["corpora"]["train"]["gold_preproc"] = config["corpora"]["dev"]["gold_preproc"] = True
    config["training"].update(max_steps=4, eval_frequency=2, max_epochs=0)
    config["training"]["score_weights"] = {"tag_acc": 1.0}
    path = tmp_path / "config.cfg"
    config.to_disk(path)
    return path


def run(*args):
    return subprocess.run([sys.executable, "-m", "spacy", *map(str, args)], capture_output=True, text=True)


def test_train_and_use_from_the_command_line(config, tmp_path):
    done = run("train", config, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LOSS TAGGER" in done.stdout
    assert "LOSS ELMO" not in done.stdout
    done = run("evaluate", tmp_path / "out" / "model-best", tmp_path / "corpus.spacy", "--gold-preproc")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TAG" in done.stdout


@pytest.mark.parametrize(
    "overrides",
    [
        {"training.frozen_components": ["elmo"], "training.annotating_components": ["elmo"]},
        {"training.annotating_components": ["elmo"]},
        {"training.accumulate_gradient": 2, "training.dropout": 0.3},
    ],
    ids=["frozen and annotating", "annotating", "accumulated"],
)
def test_train_with_other_settings(config, tmp_path, overrides):
    spacy_train(config, tmp_path / "out", overrides=overrides)
    assert spacy.load(tmp_path / "out" / "model-last")(TEXTS[0])[0].tag_


def test_train_with_elmo_among_the_frozen_components(config, tmp_path):
    spacy_train(config, tmp_path / "out", overrides={"training.frozen_components": ["elmo"]})
    assert spacy.load(tmp_path / "out" / "model-last")("我爱").has_annotation("TAG")


@pytest.mark.parametrize("place", ["model", "initialize"])
@pytest.mark.parametrize("damaged", [None, "config.json", "weights.safetensors"])
def test_train_on_a_model_that_cannot_be_read_is_told_in_one_sentence(
    config, char_model, tmp_path, capsys, place, damaged
):
    path = tmp_path / "nowhere"
    if damaged:
        shutil.copytree(char_model, path)
        (path / damaged).write_bytes(b"{}")
    with pytest.raises(loading.ModelFolderError) as expected:
        loading.load(path)
    named = spacy.util.load_config(config)
    if place == "model":
        named["components"]["elmo"]["model"]["path"] = str(path)
    else:
        named["initialize"]["components"]["elmo"] = {"path": str(path)}
    named.to_disk(config)
    with pytest.raises(SystemExit) as caught:
        spacy_train(config)
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    shown = re.sub(r"\x1b\[[\d;]*m|\s", "", out)
    assert shown.endswith(re.sub(r"\s", "", str(expected.value)))
    assert not err


@pytest.mark.parametrize("place", ["model", "initialize"])
def test_the_same_in_python(char_model, tmp_path, place):
    path = tmp_path / "bilm"
    shutil.copytree(char_model, path)
    (path / "weights.safetensors").write_bytes(b"")
    nlp = blank(path if place == "model" else char_model)
    if place == "initialize":
        nlp.config["initialize"]["components"]["elmo"] = {"path": str(path)}
    with pytest.raises(loading.ModelFolderError) as caught:
        nlp.initialize()
    with pytest.raises(loading.ModelFolderError) as expected:
        loading.load(path)
    assert str(caught.value) == str(expected.value)


def test_train_with_a_sourced_elmo(config, trained, tmp_path):
    sourced = spacy.util.load_config(config)
    sourced["components"]["elmo"] = {"source": str(trained)}
    sourced.to_disk(config)
    spacy_train(config, tmp_path / "out")
    one, other = spacy.load(tmp_path / "out" / "model-last"), spacy.load(trained)
    assert (one(TEXTS[0])._.elmo.layers == other(TEXTS[0])._.elmo.layers).all()


def test_evaluate(trained, corpus, tmp_path):
    evaluate(str(trained), corpus, output=tmp_path / "metrics.json", gold_preproc=True)
    assert srsly.read_json(tmp_path / "metrics.json")["tag_acc"] > 0


def test_assemble(config, trained, tmp_path):
    assembled = spacy.util.load_config(config)
    for name in ("elmo", "tagger"):
        assembled["components"][name] = {"source": str(trained)}
    assembled.to_disk(config)

    no_overrides = SimpleNamespace(args=[])
    assemble_cli(no_overrides, config, tmp_path / "out", code_path=None, verbose=False)
    expected = [[t.tag_ for t in doc] for doc in spacy.load(trained).pipe(TEXTS)]
    assert [[t.tag_ for t in doc] for doc in spacy.load(tmp_path / "out").pipe(TEXTS)] == expected


def test_package(trained, tmp_path):
    package(trained, tmp_path, name="elmo_test", version="1.0.0", create_sdist=False, silent=True)
    (folder,) = (tmp_path / "zh_elmo_test-1.0.0" / "zh_elmo_test").glob("zh_elmo_test-1.0.0")
    nlp = spacy.load(folder)
    assert nlp(TEXTS[0])._.elmo is not None
    requirements = (tmp_path / "zh_elmo_test-1.0.0" / "meta.json").read_text()
    assert "spacy-elmo" in requirements


def test_debug_config(config):
    debug_config(config, overrides={})


def test_wrong_key_in_the_config(config):
    with pytest.raises((SystemExit, ValueError)):
        debug_config(config, overrides={"components.elmo.model.pfad": "x"})

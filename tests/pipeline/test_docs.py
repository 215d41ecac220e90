"""The examples of docs/usage.md."""

import re
from pathlib import Path

import spacy
from spacy.util import load_config_from_str, load_model_from_config

from spacy_elmo.inference import loading

from .helpers import examples, make_bilm

PAGE = (Path(__file__).parents[2] / "docs" / "usage.md").read_text(encoding="utf8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_python_examples(monkeypatch, tmp_path, char_model):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "bundled_model_path", lambda: char_model)
    make_bilm(seed=1).save("my_model")
    names: dict = {}
    for block in blocks("python"):
        exec(compile(block, "docs/usage.md", "exec"), names)


def test_config_example(monkeypatch, char_model):
    monkeypatch.setattr(loading, "bundled_model_path", lambda: char_model)
    config = spacy.blank("zh").config.merge(load_config_from_str("[components]\n" + blocks("ini")[0]))
    config["nlp"]["pipeline"] = ["elmo", "tagger"]
    nlp = load_model_from_config(config, auto_fill=True)
    data = examples(nlp)
    nlp.update(data, sgd=nlp.initialize(lambda: data))
    assert nlp("我去银行")[0].tag_

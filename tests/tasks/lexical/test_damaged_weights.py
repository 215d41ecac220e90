"""Weights that diverged or were damaged, and labels that do not fit them: refused, never a wrong Doc."""

import json

import numpy as np
import pytest
import spacy

from spacy_elmo.errors import ElmoError

from . import analyzer_helpers
from .analyzer_helpers import CONFIG
from .helpers import MODEL, make_examples, train

LAYERS = [("crf_ner", "crf"), ("crf_tagger", "crf"), *(("lexical_analysis", h) for h in ("segment", "tag"))]


def trained(name):
    nlp = spacy.blank("zh")
    nlp.add_pipe(name, config=CONFIG if name == "lexical_analysis" else {"model": MODEL})
    examples = make_examples(nlp) if name == "crf_ner" else analyzer_helpers.make_examples(nlp)
    train(nlp, examples, 1)
    return nlp, examples


@pytest.mark.parametrize(("name", "layer"), LAYERS)
@pytest.mark.parametrize("param", ["b", "transitions"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_scores_that_are_no_numbers_or_far_too_large(name, layer, param, value):
    nlp, examples = trained(name)
    node = nlp.get_pipe(name).model.get_ref(layer)
    node.set_param(param, np.full_like(node.get_param(param), value))
    with pytest.raises(ElmoError, match="train again"):
        nlp("张三在北京。")
    with pytest.raises(ElmoError, match="train again"):
        nlp.update(examples)


@pytest.mark.parametrize("name", ["crf_ner", "crf_tagger", "lexical_analysis"])
def test_labels_that_do_not_fit_the_weights(name, tmp_path):
    nlp, _ = trained(name)
    nlp.to_disk(tmp_path)
    path = tmp_path / name / "cfg"
    cfg = json.loads(path.read_text("utf8"))
    kind = "tags" if name == "lexical_analysis" else "labels"
    for labels in (
        cfg[kind][1:],
        [*cfg[kind], "NEW"],
        cfg[kind][:1] * len(cfg[kind]),
        5,
        "abc",
        [1, 2],
        None,
    ):
        path.write_text(json.dumps({**cfg, kind: labels}), "utf8")
        with pytest.raises(ElmoError, match="labels"):
            spacy.load(tmp_path)
    path.write_text(json.dumps(cfg), "utf8")
    assert spacy.load(tmp_path).get_pipe(name).labels == nlp.get_pipe(name).labels


def test_parts_of_a_component_load_alone():
    nlp, _ = trained("crf_ner")
    data = nlp.get_pipe("crf_ner").to_bytes()
    other = spacy.blank("zh").add_pipe("crf_ner", config={"model": MODEL})
    other.from_bytes(data, exclude=["model"])
    assert other.labels == nlp.get_pipe("crf_ner").labels
    other.from_bytes(data, exclude=["cfg"])
    assert other.to_bytes() == data

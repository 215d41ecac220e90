"""The study of fine-tuning: its configurations, its choice of the learning rate, its cells, its table."""

import json

import pytest
from io_utils import write_json
from results import finetune_table
from study import Cell, Data, StudyError, run_all
from study_finetune import (
    CHOICE,
    FACTOR,
    FROZEN,
    TUNED,
    choose,
    make_config,
    plan,
    rates,
    run_apart,
    run_cell,
)
from study_knobs import PLAIN
from test_comparison import PROJECT

ROOT = PROJECT.parents[1]


def test_systems_differ_in_the_biLM_only(tmp_path):
    data = Data(tmp_path, tmp_path, 1, 0, tmp_path, ROOT / "configs")
    frozen, tuned = (make_config(cell, data) for cell in plan("ner", [5], [0], 0.3))
    parts = [config["components"]["ner"]["model"]["tok2vec"]["embed"]["*"] for config in (frozen, tuned)]
    listener, private = (each.pop("elmo") for each in parts)
    bilm = private.pop("bilm")
    assert (bilm["frozen"], bilm[FACTOR]) == (False, 0.3)
    assert private.pop("@architectures") == "spacy-elmo.ElmoTok2Vec.v1"
    assert listener.pop("@architectures") == "spacy-elmo.ElmoListener.v1"
    assert listener.pop("upstream") == "elmo"
    assert listener == private
    assert private["mix_dropout"] == PLAIN["mix_dropout"]
    elmo = frozen["components"].pop("elmo")
    assert elmo["cache_dir"] is None  # the time of the vectors is part of the training
    assert (frozen["nlp"].pop("pipeline"), tuned["nlp"].pop("pipeline")) == (["elmo", "ner"], ["ner"])
    assert frozen == tuned


def test_factors():
    assert rates("0.1, 0.3 0.1") == [0.1, 0.3]
    for wrong in ("", "many", "0", "-1 0.1"):
        with pytest.raises(StudyError, match="factors above 0"):
            rates(wrong)


def test_the_factor_is_the_best_on_development_data(corpus, tmp_path):
    data = Data(corpus, corpus, 2, 0, tmp_path, ROOT / "configs")
    for factor, score in ((0.03, 0.5), (0.1, 0.7), (0.3, 0.6)):
        settings = {**PLAIN, FACTOR: factor}
        cell = Cell(CHOICE, f"{TUNED}, factor {factor}", "tagger", 8, 0, settings)
        made = {**cell.describe(), **data.describe(), "score": score, "seconds": 1.0}
        write_json(tmp_path / CHOICE / f"{cell.name}.json", made)
    assert choose("tagger", 8, [0.03, 0.1, 0.3], data, tmp_path) == 0.1
    assert choose("tagger", 8, [0.2], data, tmp_path) == 0.2  # nothing to choose, nothing is run


def test_cells_from_training_to_the_table(corpus, tmp_path):
    data = Data(corpus, corpus, 2, 4, tmp_path, ROOT / "configs")
    frozen, tuned = plan("tagger", [8], [0], 0.1)
    run_all([frozen], data, tmp_path, run_cell)
    run_all([tuned], data, tmp_path, run_apart)  # in a process of its own
    found = [
        json.loads((tmp_path / "finetune" / f"{each.name}.json").read_text()) for each in (frozen, tuned)
    ]
    for cell in found:
        assert 0 <= cell["score"] <= 1
        assert cell["test_sentences"] == 4
        assert cell["size_mb"] > 1  # the weights are saved
        assert cell["predicted_words_per_second"] > 0
        assert cell["processor_seconds"] > 0
    rows = finetune_table(found)
    assert [row[1:3] for row in rows[1:]] == [[FROZEN, "-"], [TUNED, "0.1"]]
    assert all(len(row) == len(rows[0]) for row in rows)

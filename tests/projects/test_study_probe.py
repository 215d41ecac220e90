"""The study of the probe: its broken layer, its configurations, its ranks and their table."""

import math

import numpy as np
import pytest
import spacy
from probe_results import HEADER, probe_table, ranks, spearman
from study import WITHOUT, Data, StudyError, run_all, run_cell
from study_knobs import ALONE
from study_probe import BROKEN, SHIPPED, SHUFFLED, SYSTEMS, build_shuffled, configure, plan, run_probe
from test_comparison import PROJECT
from thinc.api import Model

ROOT = PROJECT.parents[1]
ZERO = f"{ALONE}, gamma 0"


def test_shuffled_vectors_and_their_gradient():
    """Each token has the vector of another one; the gradient returns to the token of the vector."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 3)).astype("f") for n in (4, 0, 5)]
    docs = [spacy.blank("zh")("字" * len(x)) for x in X]
    received = []
    vectors = Model("vectors", lambda model, docs, is_train: (X, received.append), dims={"nO": 3})
    model = build_shuffled(vectors)
    model.initialize(docs)
    assert model.get_dim("nO") == 3
    Y, backprop = model(docs, is_train=True)
    assert [y.shape for y in Y] == [x.shape for x in X]
    assert not np.array_equal(np.concatenate(Y), np.concatenate(X))
    backprop(Y)  # the vectors themselves as their gradient
    for x, dx in zip(X, received[0], strict=True):
        np.testing.assert_array_equal(x, dx)
    assert not np.array_equal(np.concatenate(model.predict(docs)), np.concatenate(Y))


@pytest.mark.parametrize("task", ["tagger", "ner"])
def test_configurations(task, tmp_path):
    data = Data(tmp_path, tmp_path, 1, 0, tmp_path, ROOT / "configs")
    cells = {cell.system: cell for cell in plan("probe", task, 5, [3])}
    assert list(cells) == list(SYSTEMS)
    assert set(cells) > BROKEN
    configs = {system: configure(cell, data) for system, cell in cells.items()}
    embeds = {
        system: config["components"][task]["model"]["tok2vec"]["embed"] for system, config in configs.items()
    }
    assert {"hash", "elmo", "lexicon", "tagger"} <= set(embeds[SHIPPED]["*"])
    assert "elmo" not in configs[WITHOUT]["components"]
    shuffled = dict(embeds[SHUFFLED]["*"])
    for part in ("elmo", "tagger"):
        wrapped = shuffled.pop(part)
        assert wrapped["layer"] == embeds[SHIPPED]["*"][part]
        assert wrapped["@architectures"] == "zh_elmo.Shuffled.v1"
    assert shuffled == {name: v for name, v in embeds[SHIPPED]["*"].items() if name not in ("elmo", "tagger")}
    assert embeds[ZERO] == {**embeds[ALONE], "fixed_gamma": 0.0}
    assert all(config["system"]["seed"] == 3 for config in configs.values())


def test_what_is_refused():
    with pytest.raises(StudyError, match="is not a task"):
        plan("probe", "parser", 5, [0])
    with pytest.raises(StudyError, match="is not a system"):
        plan("probe", "ner", 5, [0], ["colour"])


def test_a_probe_and_a_full_training(corpus, tmp_path):
    data = Data(corpus, corpus, 3, 0, tmp_path / "cache", ROOT / "configs")
    (cell,) = plan("probe", "tagger", 8, [0], [ZERO])
    found = run_probe(cell, data, seconds=0.1)
    assert found["peak"] in found["rows"]
    assert not found["fitted"]
    assert found["system"] == ZERO
    shuffled = plan("probe_full", "tagger", 8, [0], [SHUFFLED])
    run_all(shuffled, data, tmp_path, lambda cell, data: run_cell(cell, data, configure))
    assert (tmp_path / "probe_full" / f"{shuffled[0].name}.json").exists()


def test_ranks_and_their_correlation():
    assert ranks([3.0, 1.0, 3.0, 2.0]) == [1.5, 4.0, 1.5, 3.0]
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1.0)
    assert spearman([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))


def probed(system, peak, fitted=True):
    row = {"step": 40, "seconds": 20.0, "dev": peak, "sample": 1.0}
    last = {**row, "seconds": 50.0, "dev": 0.0}
    return {"task": "ner", "system": system, "peak": row, "fitted": fitted, "rows": [row, last]}


def test_the_table_of_ranks():
    probes = [
        probed(SHIPPED, 0.9),
        probed(WITHOUT, 0.7),
        probed(ZERO, 0.0, False),
        probed("dropout 0.7", 0.8),
    ]
    scores = {SHIPPED: (0.8, 0.9), WITHOUT: (0.9, 1.0), ZERO: (0.0,)}  # one has no full training yet
    full = [
        {"task": "ner", "system": system, "score": score} for system in scores for score in scores[system]
    ]
    header, *rows = probe_table(probes, full)
    assert header == HEADER
    assert all(len(row) == len(header) for row in rows)
    shipped, without, zero, every, sound = rows
    assert shipped[1:] == [SHIPPED, "90.00", "40", "50 s", "yes", "85.00 ± 7.07", "2", "1", "2"]
    assert without[-2:] == ["2", "1"]
    assert zero[5:] == ["no", "0.00", "1", "3", "3"]
    assert (every[1], every[-1]) == ("Spearman, all 3", "0.50")
    assert (sound[1], sound[-1]) == ("Spearman, the 2 sound ones", "-1.00")
    assert probe_table(probes, []) == [HEADER]

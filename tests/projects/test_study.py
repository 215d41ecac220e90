"""The studies: their metrics against cases counted by hand, and their cells."""

import json
from dataclasses import replace

import pytest
import spacy
from io_utils import write_json
from lengths import class_of, count_entities, count_tags, score
from spacy.tokens import Doc, Span
from spacy.training import Example
from study import WITHOUT, Cell, Data, StudyError, make_config, numbers, run_all
from study_curve import BUNDLED
from study_curve import plan as plan_curve
from study_knobs import ALONE, BASE, PLAIN
from study_knobs import plan as plan_knobs
from study_length import gains
from test_comparison import PROJECT, script

ROOT = PROJECT.parents[1]


# --- Counts, each by hand ---


def test_classes_of_length():
    assert [class_of(n, (10, 20, 40)) for n in (1, 10, 11, 20, 21, 40, 41)] == [
        *("1-10", "1-10", "11-20", "11-20", "21-40", "21-40", "41+")
    ]
    assert [class_of(n, (1, 3, 6)) for n in (1, 2, 6, 7)] == ["1", "2-3", "4-6", "7+"]


def doc(vocab, length, entities=(), tags=None):
    made = Doc(vocab, words=["字"] * length, tags=tags)
    made.ents = [Span(made, start, end, label) for start, end, label in entities]
    return made


@pytest.fixture
def vocab():
    return spacy.blank("zh").vocab


def test_tags_by_length(vocab):
    pairs = [
        (doc(vocab, 3, tags=["a", "b", "c"]), doc(vocab, 3, tags=["a", "b", "b"])),
        (doc(vocab, 2, tags=["a", "a"]), doc(vocab, 2, tags=["a", "a"])),
        (doc(vocab, 12, tags=["a"] * 12), doc(vocab, 12, tags=["a"] * 6 + ["b"] * 6)),
    ]
    counts = count_tags(Example(*pair) for pair in pairs)
    assert counts == {"sentence": {"1-10": {"right": 4, "all": 5}, "11-20": {"right": 6, "all": 12}}}
    assert score(counts["sentence"]["1-10"]) == 0.8


def test_entities_by_length(vocab):
    """One right, one with another label, one too short, one missed."""
    gold = [(0, 1, "PER"), (2, 4, "LOC"), (5, 9, "ORG")]
    found = [(0, 1, "PER"), (2, 4, "ORG"), (5, 8, "ORG")]
    examples = [
        Example(doc(vocab, 10, found), doc(vocab, 10, gold)),
        Example(doc(vocab, 50), doc(vocab, 50, [(0, 8, "ORG")])),
    ]
    counts = count_entities(examples)
    assert counts["sentence"] == {
        "1-10": {"right": 1, "all": 3, "found": 3},
        "41+": {"right": 0, "all": 1, "found": 0},
    }
    assert counts["entity"] == {
        "1": {"right": 1, "all": 1, "found": 1},
        "2-3": {"right": 0, "all": 1, "found": 2},
        "4-6": {"right": 0, "all": 1, "found": 0},
        "7+": {"right": 0, "all": 1, "found": 0},
    }
    assert score(counts["sentence"]["1-10"]) == pytest.approx(1 / 3)
    assert score(counts["entity"]["7+"]) == 0.0
    assert score({"right": 0, "all": 0, "found": 0}) == 0.0


def cell(system, value, seed=0, **changes):
    count = {"1-10": {"right": round(10 * value), "all": 10}, "11-20": {"right": 5, "all": 5}}
    made = {"study": "curve", "system": system, "task": "tagger", "sentences": 500, "seed": seed}
    made |= {
        "score": value,
        "seconds": 2.0,
        "processor_seconds": 1.0,
        "words_per_second": 1000.0,
        "steps": 1,
        "examples": [],
    }
    mixes = [] if system == WITHOUT else [{"weights": [0.5, 0.3, 0.2], "gamma": 1.5}]
    return made | {"lengths": {"sentence": count}, "mixes": mixes} | changes


def test_gains_pool_the_seeds():
    cells = [cell(WITHOUT, 0.5), cell(WITHOUT, 0.6, 1), cell(BUNDLED, 0.7), cell(BUNDLED, 0.8, 1)]
    first, second = gains(cells)
    assert (first["length"], first["all"], first[WITHOUT], first[BUNDLED]) == ("1-10", 20, 0.55, 0.75)
    assert (second["length"], second[WITHOUT], second[BUNDLED]) == ("11-20", 1.0, 1.0)
    assert gains(cells[:2]) == []
    assert gains([*cells, cell(WITHOUT, 0.1, 2)]) == [first, second]  # a seed that only one side has


# --- Plans and cells ---


def test_plans():
    cells = plan_knobs("ner", 500, [0, 1], ["gamma"])
    assert [each.system for each in cells[:3]] == [WITHOUT, BASE, "gamma fixed at 0.1"]
    assert cells[2].settings == {**PLAIN, "fixed_gamma": 0.1}
    assert cells[5].system == ALONE
    assert len(cells) == 12
    assert len({each.name for each in cells}) == 12
    curve = plan_curve("ner", [100, 0], [0], ["own text=folder"])
    assert [(each.sentences, each.model) for each in curve if each.system == "own text"] == [
        *((100, "folder"), (0, "folder"))
    ]
    resume = plan_curve("ner", [100], [0], [], "Resume")
    assert not {each.name for each in resume} & {each.name for each in plan_curve("ner", [100], [0], [])}
    for wrong in ("name", "=folder", f"{BUNDLED}=folder"):
        with pytest.raises(StudyError, match="NAME=FOLDER"):
            plan_curve("ner", [100], [0], [wrong])
    with pytest.raises(StudyError, match="is not a setting"):
        plan_knobs("ner", 500, [0], ["colour"])
    with pytest.raises(StudyError, match="whole numbers"):
        numbers("one")


@pytest.mark.parametrize("task", ["tagger", "ner"])
def test_configs_differ_in_what_is_studied(task, tmp_path):
    data = Data(tmp_path, tmp_path, 1, 0, tmp_path, ROOT / "configs")

    def embed(**changes):
        made = Cell("knobs", **{"system": "x", "task": task, "sentences": 5, "seed": 3} | changes)
        config = make_config(made, data)
        assert config["system"]["seed"] == 3
        return config["components"][task]["model"]["tok2vec"]["embed"], config

    both, config = embed(settings={"mix_dropout": 0.7}, model="folder")
    assert sorted(both["*"]) == ["elmo", "hash"]
    assert both["*"]["elmo"]["mix_dropout"] == 0.7
    assert config["components"]["elmo"]["model"]["path"] == "folder"
    alone, _ = embed(alone=True)
    assert alone["@architectures"] == "spacy-elmo.ElmoListener.v1"
    without, config = embed(system=WITHOUT)
    assert without["@architectures"] == "spacy.MultiHashEmbed.v2"
    assert config["nlp"]["pipeline"] == [task]


def test_a_cell_from_training_to_its_file(corpus, tmp_path):
    data = Data(corpus, corpus, 2, 4, tmp_path / "cache", ROOT / "configs")
    cells = [
        Cell("knobs", WITHOUT, "tagger", 8, 0),
        Cell("knobs", "gamma", "tagger", 8, 0, {"fixed_gamma": 10.0}),
    ]
    run_all(cells, data, tmp_path)
    without, elmo = (json.loads((tmp_path / "knobs" / f"{each.name}.json").read_text()) for each in cells)
    assert without["mixes"] == []
    assert elmo["mixes"][0]["gamma"] == 10.0
    assert elmo["test_sentences"] == 4
    assert elmo["lengths"]["sentence"]["1-10"]["all"] == 16
    assert elmo["score"] == pytest.approx(score(elmo["lengths"]["sentence"]["1-10"]))
    path = tmp_path / "knobs" / f"{cells[1].name}.json"
    write_json(path, {**elmo, "score": 0.25})
    run_all(cells, data, tmp_path)  # a finished cell is not run again
    assert json.loads(path.read_text())["score"] == 0.25
    with pytest.raises(StudyError, match="steps 2, not 3"):
        run_all(cells, Data(corpus, corpus, 3, 4, tmp_path / "cache", ROOT / "configs"), tmp_path)
    with pytest.raises(StudyError, match="test_limit 4, not 0"):
        run_all(cells, Data(corpus, corpus, 2, 0, tmp_path / "cache", ROOT / "configs"), tmp_path)
    with pytest.raises(StudyError, match=r"settings \{'fixed_gamma': 10.0\}, not"):
        run_all([replace(cells[1], settings={"fixed_gamma": 1.0})], data, tmp_path)
    write_json(path, {**elmo, "bilm": "another model"})
    with pytest.raises(StudyError, match="bilm another model"):
        run_all(cells, data, tmp_path)
    with pytest.raises(StudyError, match="'lexical' is not a task"):
        run_all([replace(cells[0], task="lexical")], data, tmp_path)


def test_too_few_sentences_is_one_sentence(corpus, tmp_path):
    done = script("study_knobs", corpus, corpus, tmp_path, "--sentences", 99, "--cache", tmp_path / "cache")
    assert done.returncode == 1
    assert "holds 12 sentences, not 99" in done.stderr
    assert "Traceback" not in done.stderr

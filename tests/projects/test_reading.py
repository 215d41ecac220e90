"""The scripts of the reading comparison, and the configs that they train."""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import reading
import reading_data
import reading_page
import reading_report
import spacy
import srsly
import typer
from io_utils import write_json
from spacy.cli.train import train
from test_comparison import PROJECT
from thinc.api import Config

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"


def swap(text):
    """A converter that knows three characters, and one phrase that becomes shorter."""
    return text.replace("甲甲", "乙").translate(str.maketrans("東學國", "东学国"))


def squad(context="我在東京大學", answer="東京", start=2):
    qas = [{"id": "1", "question": "在哪國", "answers": [{"text": answer, "answer_start": start}]}]
    return {"data": [{"title": "t", "paragraphs": [{"context": context, "qas": qas}]}]}


def test_offsets_stay_when_text_is_converted():
    paragraph = reading_data.simplify_squad(squad(), swap)["data"][0]["paragraphs"][0]
    assert paragraph["context"] == "我在东京大学"
    assert paragraph["qas"][0]["question"] == "在哪国"
    assert paragraph["qas"][0]["answers"] == [{"text": "东京", "answer_start": 2}]


def test_text_that_would_change_its_length_is_converted_by_character():
    assert reading_data.simplify("甲甲東", swap) == "甲甲东"


def test_an_answer_with_a_wrong_offset_is_converted_by_itself():
    data = reading_data.simplify_squad(squad(start=0), swap)
    assert data["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["text"] == "东京"


def test_parts_by_passage():
    paragraphs = [{"context": str(i % 10), "qas": [i]} for i in range(20)]
    own, dev = reading_data.split(paragraphs, 0.3, seed=0)
    assert len({p["context"] for p in dev}) == 3
    assert not {p["context"] for p in own} & {p["context"] for p in dev}
    assert len(own) + len(dev) == 20


def test_each_passage_is_written_once(tmp_path):
    paragraphs = [{"context": "甲乙\n丙", "qas": []}, {"context": "丁", "qas": []}] * 2
    line = reading_data.write_passages(tmp_path / "passages.txt", paragraphs)
    assert (tmp_path / "passages.txt").read_text(encoding="utf8") == "甲乙 丙\n\n丁\n\n"
    assert line.endswith("passages.txt: 2 passages, 5 characters, no questions")


def test_costs_that_were_not_measured_are_left_out(tmp_path):
    same = {"em": 0.5, "f": 0.5, "rouge_l": 0.5}
    for seed, cost in enumerate(
        [{"training_seconds": 60.0, "peak_mb": 200.0}, {"training_seconds": 120.0}, {}]
    ):
        run = {"quiz": {"all": same, "1-4": same, "no_answer_acc": 1.0}, **cost}
        (tmp_path / f"elmo_all_{seed}.json").write_text(json.dumps(run), encoding="utf8")
    assert "| + ELMo at the input | all |  | 1.5 | 200 |" in reading_report.table(tmp_path)


def test_a_run_with_another_bilm_has_its_label_in_file_and_table(tmp_path):
    assert reading.Run("elmo", 1, 0, "news-1998").name == "elmo-news-1998_all_1"
    assert reading_report.name_of("elmo-news-1998") == "+ ELMo at the input, biLM: news-1998"
    assert reading_report.name_of("elmo_twice") == "+ ELMo at the input and after the modelling layer"


@pytest.fixture
def data(tmp_path):
    """Train, dev and test: the same small file."""
    content = squad("张三住在北京，李四住在上海。", "北京", 4)
    content["data"][0]["paragraphs"].append(squad("王五学习物理。", "物理", 4)["data"][0]["paragraphs"][0])
    for name in ("train", "dev", "quiz"):
        (tmp_path / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf8")
    return tmp_path


def test_a_run_leaves_its_scores_and_is_not_repeated(data, tmp_path):
    config = Config().from_disk(CONFIGS / "reader_baseline.cfg", interpolate=False)
    config["components"]["reader"]["model"]["hidden_size"] = 4
    config.to_disk(tmp_path / "reader_baseline.cfg", interpolate=False)
    runs = [reading.Run("baseline", 0, 0, steps=2)]
    folders = {"output": tmp_path / "training", "metrics": tmp_path / "metrics", "configs": tmp_path}
    settings = {**folders, "data": data, "tests": [data / "quiz.json"], "model": None}
    (line,) = reading.run_all(runs, **settings)
    assert line.startswith("baseline_all_0: quiz F1 ")
    scores = json.loads((tmp_path / "metrics" / "baseline_all_0.json").read_text(encoding="utf8"))
    assert scores["questions_per_second"] > 0
    assert 0 <= scores["quiz"]["all"]["f"] <= 1
    (tmp_path / "training" / "baseline_all_0" / "log.txt").unlink()
    assert list(reading.run_all(runs, **settings)) == [line]
    assert not (tmp_path / "training" / "baseline_all_0" / "log.txt").exists()
    with pytest.raises(reading.RunError, match="has other settings: --training"):
        list(reading.run_all([reading.Run("elmo", 0, 0), reading.Run("baseline", 0, 0, steps=3)], **settings))
    (data / "train.json").write_text(json.dumps(squad()), encoding="utf8")
    with pytest.raises(reading.RunError, match="was made with another file of train: delete it"):
        list(reading.run_all(runs, **settings))
    table = reading_report.table(tmp_path / "metrics")
    assert "BiDAF without ELMo" in table
    pipeline = reading_page.find_pipeline(tmp_path / "training")
    assert pipeline == tmp_path / "training" / "baseline_all_0" / "model-best"
    page = reading_page.page(pipeline, data / "quiz.json", 2)
    assert page.count("<article>") == page.count("<table>") == 2
    assert "<mark" in page
    assert reading_page.find_pipeline(data) is None


def test_the_steps_belong_to_the_numbers_of_questions(data, tmp_path, capsys, monkeypatch):
    found = []
    monkeypatch.setattr(reading, "run_all", lambda runs, *rest: found.extend(runs) or [])
    arguments = {"data": data, "output": tmp_path, "metrics": tmp_path, "test": [], "configs": CONFIGS}
    arguments |= {"model": None, "label": "", "systems": "elmo", "seeds": "0", "questions": "1000 0"}
    reading.main(**arguments, steps="300 1000")
    reading.main(**arguments, steps="50")
    assert [(run.questions, run.steps) for run in found] == [(1000, 300), (0, 1000), (1000, 50), (0, 50)]
    with pytest.raises(typer.Exit):
        reading.main(**arguments, steps="1 2 3")
    assert "--steps has 3 numbers: give one, or as many as --questions has (2)" in capsys.readouterr().err
    for steps in ("1,000", "0", ""):
        with pytest.raises(typer.Exit):
            reading.main(**arguments, steps=steps)
        assert f"--steps: '{steps}' is not a list of whole numbers from 1 on" in capsys.readouterr().err


def test_the_memory_is_that_of_the_command_alone(tmp_path):
    """The process that starts the measurement needs more, and so does a command before."""
    subprocess.run([sys.executable, "-c", "bytearray(b'1') * 300_000_000"], check=True)
    call = [sys.executable, PROJECT / "scripts" / "measure_process.py", tmp_path / "costs.json"]
    assert subprocess.run([*call, sys.executable, "-c", "raise SystemExit(3)"]).returncode == 3
    costs = json.loads((tmp_path / "costs.json").read_text(encoding="utf8"))
    assert 0 < costs["peak_mb"] < 100
    assert 0 < costs["seconds"] < 60


def test_a_training_that_fails_shows_the_end_of_its_log(tmp_path):
    with pytest.raises(reading.RunError, match="baseline_all_0 failed with status 1"):
        reading.train(reading.Run("baseline", 0, 0), Config(), tmp_path / "run", [])


def test_the_biLM_belongs_to_the_inputs(data):
    run, model = reading.Run("elmo", 0, 0, "news"), data / "model"
    model.mkdir()
    (model / "weights.safetensors").write_bytes(b"1")
    first = reading.inputs_of(run, data, [data / "quiz.json"], model)
    (model / "weights.safetensors").write_bytes(b"2")
    second = reading.inputs_of(run, data, [data / "quiz.json"], model)
    assert [name for name in first if first[name] != second[name]] == ["biLM"]
    assert sorted(first) == ["biLM", "dev", "quiz", "train"]


def test_seeds_that_differ_are_not_averaged(tmp_path):
    same = {"all": {"em": 0.5, "f": 0.5, "rouge_l": 0.5}, "no_answer_acc": 1.0}
    for questions in ("10000", "2000", "all"):
        for seed in (0, 1):
            write_json(tmp_path / f"elmo_{questions}_{seed}.json", {"quiz": same, "settings": ["a"]})
    lines = [
        line.split("|")[2].strip() for line in reading_report.table(tmp_path).splitlines() if "ELMo" in line
    ]
    assert lines == ["2000", "10000", "all"] * 2
    write_json(tmp_path / "elmo_all_1.json", {"quiz": same, "settings": ["b"]})
    with pytest.raises(ValueError, match="The seeds of elmo_all differ in their settings"):
        reading_report.table(tmp_path)
    write_json(tmp_path / "elmo_all_1.json", {"other": same, "settings": ["a"]})
    with pytest.raises(ValueError, match="has no scores of other"):
        reading_report.table(tmp_path)


def test_tests_that_would_replace_another_part_are_refused():
    assert reading_data.test_files("a/DRCD_test.json 'my b/quiz.json'") == [
        Path("a/DRCD_test.json"),
        Path("my b/quiz.json"),
    ]
    for text in ("squad/dev.json", "train.json", "a/quiz.json b/quiz.json"):
        with pytest.raises(reading_data.DataError, match="A test cannot be named"):
            reading_data.test_files(text)


def test_the_page_shows_the_reader_with_the_most_questions(tmp_path):
    for name in ("elmo_1000_0", "elmo_4000_1", "baseline_all_0"):
        (tmp_path / name / "model-best").mkdir(parents=True)
    assert reading_page.find_pipeline(tmp_path) == tmp_path / "elmo_4000_1" / "model-best"
    (tmp_path / "elmo_all_2" / "model-best").mkdir(parents=True)
    assert reading_page.find_pipeline(tmp_path) == tmp_path / "elmo_all_2" / "model-best"


@pytest.mark.parametrize("system", ["elmo", "elmo_twice", "elmo_lexicon"])
def test_systems_with_elmo_train(system, data, tmp_path):
    config = reading.make_config(reading.Run(system, 0, 0), CONFIGS, None)
    config.to_disk(tmp_path / "config.cfg", interpolate=False)
    overrides = {"paths.train": str(data / "train.json"), "paths.dev": str(data / "dev.json")}
    overrides |= {
        "training.max_steps": 2,
        "training.eval_frequency": 2,
        "training.optimizer.learn_rate.total_steps": 2,
    }
    train(
        tmp_path / "config.cfg",
        tmp_path / "out",
        overrides={**overrides, "components.reader.model.hidden_size": 4},
    )
    nlp = spacy.load(tmp_path / "out" / "model-last")
    assert nlp.pipe_names == ["elmo", "reader"]
    assert nlp.get_pipe("reader").answer("谁", "张三").no_answer <= 1.0
    assert "<table>" in reading_page.page(tmp_path / "out" / "model-last", data / "quiz.json", 1)


def test_the_baseline_is_the_same_without_elmo():
    elmo, baseline = (
        Config().from_disk(CONFIGS / f"{name}.cfg", interpolate=False)
        for name in ("reader", "reader_baseline")
    )
    without = deepcopy(elmo)
    del without["components"]["elmo"]
    del without["paths"]["cache"]
    without["nlp"]["pipeline"] = ["reader"]
    without["components"]["reader"]["model"]["tok2vec"] = None
    assert without == baseline


def test_the_project_can_be_run():
    """Names are there once, and each workflow's steps are commands."""
    project = srsly.read_yaml(ROOT / "projects" / "zh_elmo" / "project.yml")
    names = [command["name"] for command in project["commands"]]
    assert len(names) == len(set(names))
    assert {step for steps in project["workflows"].values() for step in steps} <= set(names)

"""Training, evaluating and reporting: the same seeds on both sides, clear errors, right arithmetic."""

import subprocess
import sys
from pathlib import Path

import pytest
import srsly
from io_utils import write_json
from report import comparison, fewer_errors, mixes, percent
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab as SpacyVocab
from summarize import crossing
from thinc.api import Config
from train_seeds import Run, RunError, command, configs_for, plan, train

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.inference.loading import bundled_model_path
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import Vocab

PROJECT = Path(__file__).parents[2] / "projects" / "zh_elmo"


def script(name, *arguments):
    """Run a script of the project as project.yml does."""
    call = [sys.executable, f"scripts/{name}.py", *map(str, arguments)]
    return subprocess.run(call, cwd=PROJECT, capture_output=True, text=True)


# --- The project file ---


def test_every_command_and_path_of_the_project_is_there():
    project = srsly.read_yaml(PROJECT / "project.yml")
    commands = {each["name"]: each for each in project["commands"]}
    assert project["workflows"]["all"] == ["assets", "corpus", "pretrain", "train", "evaluate", "table"]
    made = {path for each in commands.values() for path in each.get("outputs", [])}
    made |= {asset["dest"] for asset in project["assets"]}
    for each in commands.values():
        for path in each["deps"]:
            assert path in made or (PROJECT / path).exists(), path


# --- Training ---


def test_both_sides_get_the_same_seeds():
    runs = plan("0 1 7 1")
    sides = [{(run.task, run.seed) for run in runs if run.system == side} for side in ("baseline", "elmo")]
    assert sides[0] == sides[1] == {(task, seed) for task in ("tagger", "ner") for seed in (0, 1, 7)}
    assert len(runs) == 12


def test_one_task_of_the_comparison():
    assert {(run.task, run.system) for run in plan("0 1", "ner")} == {("ner", "baseline"), ("ner", "elmo")}


@pytest.mark.parametrize("tasks", ["", "parser", "ner parser", "ner,tagger"])
def test_tasks_that_are_none(tasks):
    with pytest.raises(RunError, match="choose from tagger, ner"):
        plan("0", tasks)


@pytest.mark.parametrize("static", [[], ["我你"]])
def test_another_model_has_its_own_lexicon_and_no_distilled_tagger(static, tmp_path):
    configs = PROJECT.parents[1] / "configs"
    assert configs_for(bundled_model_path(), configs, tmp_path) == configs
    assert not list(tmp_path.iterdir())
    sizes = {"projection_dim": 4, "hidden_size": 4, "n_static_vectors": len(static), "static_dim": 2}
    BiLM(BiLMConfig(units="char", **sizes), Vocab("我你", static=static)).save(tmp_path / "own")
    copies = configs_for(tmp_path / "own", configs, tmp_path)
    for task in ("tagger", "ner"):
        for name in (f"{task}.cfg", f"{task}_baseline.cfg"):
            expected = Config().from_disk(configs / name, interpolate=False)
            parts = expected["components"][task]["model"]["tok2vec"]["embed"].get("*", {})
            assert ("tagger" in parts) == (name == f"{task}.cfg")
            parts.pop("tagger", None)
            if static and "lexicon" in parts:
                parts["lexicon"]["path"] = str((tmp_path / "own").resolve())
            else:
                parts.pop("lexicon", None)
            assert Config().from_disk(copies / name, interpolate=False) == expected


def test_the_two_commands_differ_in_config_and_model_only():
    calls = [
        command(
            Run("ner", system, 3),
            configs=Path("c"),
            output=Path("o"),
            model=Path("m"),
            gpu=-1,
            options=["--x", "1"],
        )
        for system in ("baseline", "elmo")
    ]
    replaced = [part.replace("ner_baseline", "ner").replace("ner_elmo", "ner") for part in calls[0]]
    assert [part.replace("ner_elmo", "ner") for part in calls[1]] == [
        *replaced,
        "--components.elmo.model.path",
        "m",
    ]


@pytest.mark.parametrize("seeds", ["", "one", "0;1"])
def test_seeds_that_are_none(seeds):
    with pytest.raises(RunError, match="whole numbers"):
        plan(seeds)


def test_a_failing_run_shows_the_end_of_its_log(tmp_path):
    call = [sys.executable, "-c", "print('first'); raise SystemExit('the reason')"]
    with pytest.raises(RunError, match="ner_elmo_0 failed with status 1") as error:
        train(Run("ner", "elmo", 0), call, tmp_path / "run.log")
    assert str(error.value).endswith("the reason")


# --- Reporting ---


def test_arithmetic():
    assert percent([0.8, 0.82, 0.84]) == "82.00 ± 2.00"
    assert percent([0.8]) == "80.00"
    assert fewer_errors([0.8, 0.8], [0.85, 0.83]) == "-20.0 %"
    assert fewer_errors([0.8], [0.75]) == "+25.0 %"
    assert fewer_errors([1.0], [1.0]) == "no errors"


def runs_with_scores():
    for run in plan("0 1"):
        better = 0.1 * (run.system == "elmo")
        scores = {"task": run.task, "system": run.system, "seed": run.seed}
        scores["mix"] = {"weights": [0.5, 0.3, 0.2], "gamma": 0.7} if run.system == "elmo" else None
        if run.task == "tagger":
            scores["tag_acc"] = 0.8 + better
        else:
            part = {"p": 0.5 + better, "r": 0.4, "f": 0.45}
            scores.update({f"ents_{key}": value for key, value in part.items()})
            scores["ents_per_type"] = {"PER": part} if run.seed == 0 else {"PER": part, "ORG": part}
        yield run, scores


def test_tables():
    scores = [each for _, each in runs_with_scores()]
    table = comparison(scores)
    assert "| tagging accuracy   | 80.00 ± 0.00  | 90.00 ± 0.00  | -50.0 % |" in table
    assert "| PER precision      | 50.00 ± 0.00  | 60.00 ± 0.00  | -20.0 % |" in table
    assert "ORG F1" in table  # of a label that only some runs know
    assert "| tagger      | 0.50    | 0.30    | 0.20    | 0.70  |" in mixes(scores)


def test_report_writes_what_it_prints(tmp_path):
    for run, scores in runs_with_scores():
        write_json(tmp_path / f"{run.name}.json", scores)
    write_json(tmp_path / "perplexity.json", {"forward": 123.45, "units": 1000})
    done = script("report", tmp_path, tmp_path / "report.md", "--seeds", "0 1")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.md").read_text(encoding="utf8")
    assert done.stdout.startswith(text)
    assert "123.5" in text


def test_report_of_one_task(tmp_path):
    for run in plan("0 1", "ner"):
        scores = {"task": "ner", "system": run.system, "seed": run.seed, "mix": None}
        scores |= {f"ents_{key}": 0.5 + 0.25 * (run.system == "elmo") for key in "prf"}
        write_json(tmp_path / f"{run.name}.json", {**scores, "ents_per_type": {}})
    options = ["--seeds", "0 1", "--tasks", "ner"]
    missing = script("report", tmp_path, tmp_path / "t.md", *options)
    assert missing.returncode == 1
    assert "perplexity.json" in missing.stderr
    done = script("report", tmp_path, tmp_path / "t.md", *options, "--no-perplexity")
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "t.md").read_text(encoding="utf8")
    assert "| entities F1        | 50.00 ± 0.00 | 75.00 ± 0.00 | -50.0 % |" in table
    assert "tagging" not in table


def test_report_without_scores_is_one_sentence(tmp_path):
    done = script("report", tmp_path, tmp_path / "report.md")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The scores cannot be read")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "report.md").exists()


@pytest.mark.parametrize("name", ["report", "summarize"])
def test_runs_with_different_settings_are_not_compared(tmp_path, name):
    folder = tmp_path / "bundled_500"
    for run, scores in runs_with_scores():
        steps = 600 if run.name == "ner_elmo_1" else 300
        write_json(folder / f"{run.name}.json", {**scores, "settings": {"max_steps": steps, "dropout": 0.4}})
    metrics = folder if name == "report" else tmp_path
    done = script(name, metrics, tmp_path / "table.md", "--seeds", "0 1")
    assert done.returncode == 1
    assert "the runs of ner were trained with different settings, {'max_steps': 300" in done.stderr
    assert not (tmp_path / "table.md").exists()


# --- All together, small ---


def test_train_and_evaluate(tmp_path):
    docs = DocBin()
    for name in ("江泽民", "邓小平", "周恩来", "毛泽东"):
        doc = Doc(SpacyVocab(), words=[name, "在", "北京"], spaces=[False] * 3, tags=["nr", "p", "ns"])
        doc.set_ents([doc.char_span(0, 3, "PER"), doc.char_span(4, 6, "LOC")])
        docs.add(doc)
    corpus = tmp_path / "corpus.spacy"
    docs.to_disk(corpus)
    model = PROJECT.parents[1] / "spacy_elmo" / "models" / "zh_elmo_sm"

    options = ["--seeds", "5", "--max-steps", "2", "--eval-frequency", "1"]
    done = script("train_seeds", corpus, corpus, model, tmp_path / "training", *options)
    assert done.returncode == 0, done.stderr
    configs = [
        (tmp_path / "training" / run.name / "model-best" / "config.cfg").read_text(encoding="utf8")
        for run in plan("5")
    ]
    assert all("zh_elmo.suffix.v1" in config for config in configs)  # the same features on both sides
    done = script("evaluate", tmp_path / "training", corpus, tmp_path / "metrics", "--seeds", "5")
    assert done.returncode == 0, done.stderr
    names = {"tagger_baseline_5", "tagger_elmo_5", "ner_baseline_5", "ner_elmo_5"}
    metrics = {path.stem: srsly.read_json(path) for path in (tmp_path / "metrics").iterdir()}
    assert set(metrics) == names
    assert all(bool(scores["mix"]) == ("elmo" in name) for name, scores in metrics.items())
    assert {scores["settings"]["max_steps"] for scores in metrics.values()} == {2}
    assert sum(metrics["tagger_elmo_5"]["mix"]["weights"]) == pytest.approx(1.0)
    assert 0.0 <= metrics["tagger_baseline_5"]["tag_acc"] <= 1.0

    done = script("train_seeds", tmp_path / "missing.spacy", corpus, model, tmp_path / "failed", *options)
    assert done.returncode == 1
    assert "failed with status" in done.stderr


# ---- the learning curve of the bundled model


def test_where_two_curves_meet():
    """The error halves with each fourfold: 0.2, 0.1, 0.05; 0.1414 lies half-way on both logarithms."""
    points = [(500, 0.8), (2000, 0.9), (8000, 0.95)]
    assert crossing(points, 0.9) == 2000
    assert crossing(points, 1 - 0.2 / 2**0.5) == 1000
    assert crossing(points, 0.97) is None  # better than all
    assert crossing(points, 0.5) is None  # reached before the first


def test_curve(tmp_path):
    for size, gain in ((500, 0.0), (2000, 0.1)):
        for run, scores in runs_with_scores():
            if run.task == "tagger":
                scores["tag_acc"] += gain * (run.system == "elmo")
            write_json(tmp_path / "metrics" / f"bundled_{size}" / f"{run.name}.json", scores)
    done = script("summarize", tmp_path / "metrics", tmp_path / "summary.md")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (tmp_path / "summary.md").read_text(encoding="utf8").strip()
    assert "| tagging accuracy | 500       | 80.00 ± 0.00 | 90.00 ± 0.00  | -50.0 %  |" in done.stdout
    assert "| tagging accuracy | 2,000     | 80.00 ± 0.00 | 100.00 ± 0.00 | -100.0 % |" in done.stdout


def test_only_the_seeds_that_were_asked_for_are_in_the_summary(tmp_path):
    for run, scores in runs_with_scores():
        write_json(tmp_path / "metrics" / "bundled_500" / f"{run.name}.json", scores)
    old = {**scores, "task": "tagger", "system": "baseline", "seed": 7, "tag_acc": 0.1}
    write_json(tmp_path / "metrics" / "bundled_500" / "tagger_baseline_7.json", old)
    done = script("summarize", tmp_path / "metrics", tmp_path / "summary.md")
    assert "| tagging accuracy | 500       | 80.00 ± 0.00 |" in done.stdout
    assert "- tagging accuracy: + ELMo with 500 sentences is above the baseline with 500." in done.stdout


def test_steps_that_no_evaluation_follows_are_refused(tmp_path):
    done = script("train_seeds", "train", "dev", bundled_model_path(), tmp_path, "--max-steps", 250)
    assert done.returncode == 1
    assert "--max-steps 250 is not a multiple of --eval-frequency 100" in done.stderr


def test_curve_without_scores_is_one_sentence(tmp_path):
    done = script("summarize", tmp_path, tmp_path / "summary.md")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: There is no comparison of the bundled model")
    assert done.stderr.count("\n") == 1

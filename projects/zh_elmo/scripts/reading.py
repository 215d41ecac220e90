"""Train and test the compared readers: without ELMo, with ELMo at the input, at both ends, and with more.

A run is one system, one seed and one number of training questions; it writes a JSON file of its scores. A run
with such a file is not repeated, so an interrupted comparison continues where it stopped.
"""

import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from io_utils import fail, fingerprint, fingerprint_of_bilm, read_json, read_numbers, write_json
from thinc.api import Config
from training_process import RunError, run_training

SYSTEMS = ("baseline", "elmo", "elmo_twice", "elmo_lexicon")
LENGTHS = {"1-4": (1, 4), "5-10": (5, 10), "11-": (11, 10**6)}  # characters of the first answer
NEGATIVES = 0.25  # questions of other passages, relative to the number of a test's questions
SPEED_CHARACTERS, SPEED_QUESTIONS = 500, 64


@dataclass(frozen=True)
class Run:
    """One training and its tests."""

    system: str
    seed: int
    questions: int
    """of training; 0: all"""
    label: str = ""
    """of the biLM; empty: the bundled model"""
    steps: int = 1000
    """of the training, with five evaluations"""

    @property
    def name(self) -> str:
        """Name of the run in file names."""
        system = f"{self.system}-{self.label}" if self.label else self.system
        return f"{system}_{self.questions or 'all'}_{self.seed}"

    @property
    def settings(self) -> list[str]:
        """Settings of the training in addition to those of the config, as arguments."""
        frequency = max(self.steps // 5, 1)
        return ["--training.max_steps", str(self.steps), "--training.eval_frequency", str(frequency)]


def make_config(run: Run, configs: Path, model: Path | None) -> Config:
    """Return the config of a run: the repository's config with the sections of the system."""
    baseline = run.system == "baseline"
    path = configs / ("reader_baseline.cfg" if baseline else "reader.cfg")
    config = Config().from_disk(path, interpolate=False)
    if baseline:
        return config
    if model is not None:
        config["components"]["elmo"]["model"]["path"] = str(model)
    network = config["components"]["reader"]["model"]
    listener = network["tok2vec"]
    if run.system == "elmo_twice":
        both = {"@architectures": "spacy-elmo.BothEnds.v1", "tok2vec": listener, "elmo": dict(listener)}
        network["tok2vec"] = both
    elif run.system == "elmo_lexicon":
        lexicon = {"@architectures": "spacy-elmo.LexiconFeatures.v1", "path": model and str(model)}
        network["tok2vec"] = {
            "@layers": "concatenate.v1",
            "*": {"elmo": {**listener, "use_static_vectors": True}, "lexicon": lexicon},
        }
    return config


def train(run: Run, config: Config, folder: Path, paths: list[str]) -> tuple[float, float]:
    """Train one run in one thread. Return processor seconds and peak memory in MB. Raises a RunError.

    paths: of the data, as arguments.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config.to_disk(folder / "config.cfg", interpolate=False)
    call = [sys.executable, "-m", "spacy", "train", str(folder / "config.cfg"), "--output", str(folder)]
    call += ["--system.seed", str(run.seed), "--corpora.train.limit", str(run.questions), *paths]
    call += run.settings
    log, costs = folder / "log.txt", folder / "costs.json"
    call = [sys.executable, str(Path(__file__).with_name("measure_process.py")), str(costs), *call]
    run_training(run.name, call, log)
    found = read_json(costs)
    return found["seconds"], found["peak_mb"]


def evaluate(folder: Path, dev: Path, tests: list[Path]) -> dict[str, Any]:
    """Score a trained reader on the tests: with an answer to every question, and by its refusals."""
    import spacy
    import torch

    from spacy_elmo.tasks.reading.corpus import SquadCorpus

    torch.set_num_threads(1)
    nlp = spacy.load(folder / "model-best")
    reader = nlp.get_pipe("reader")
    calibration = reader.calibrate(SquadCorpus(dev, negatives=0.5)(nlp))
    reader.threshold = 1.0  # answer every question; refusals are counted below
    scores: dict[str, Any] = {"calibration": [calibration.temperature, calibration.no_answer_bias]}
    for test in tests:
        examples = list(SquadCorpus(test, negatives=NEGATIVES)(nlp))
        docs = nlp.pipe(eg.predicted for eg in examples)
        scores[test.stem] = score(
            pair for eg, doc in zip(examples, docs, strict=True) for pair in _pairs(eg, doc)
        )
    scores["questions_per_second"] = measure_speed(nlp)
    return scores


def measure_speed(nlp: Any) -> float:
    """Return questions per second of processor time in one thread, each with its own passage; best of 3.

    A passage has SPEED_CHARACTERS. Processor time does not depend on what else the machine computes.
    """
    reader = nlp.get_pipe("reader")
    text = "长江是中国最长的河流，发源于青藏高原，全长六千三百公里，流经十一个省区，在上海注入东海。"
    long = (text * (SPEED_CHARACTERS // len(text) + 2))[: SPEED_CHARACTERS - 2]
    seconds = []
    for trial in range(3):
        pairs = [
            ("长江的全长是多少公里？", f"{trial}{i % 10}{long[i:]}{long[:i]}") for i in range(SPEED_QUESTIONS)
        ]
        begin = time.process_time()
        reader.answer_batch(pairs)
        seconds.append(time.process_time() - begin)
    return SPEED_QUESTIONS / min(seconds)


def score(found: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Score questions with their answers: all, by length of the answer, and refusals at threshold 0.5."""
    found = list(found)
    possible = [(q, answers) for q, answers in found if not q.is_impossible]
    scores: dict[str, Any] = {"all": _mean_scores(possible)}
    for name, (shortest, longest) in LENGTHS.items():
        scores[name] = _mean_scores([(q, a) for q, a in possible if shortest <= len(q.answers[0]) <= longest])
    right = [(answers.no_answer > 0.5) == q.is_impossible for q, answers in found]
    return {**scores, "no_answer_acc": sum(right) / len(right) if right else None}


def _pairs(example: Any, doc: Any) -> list[tuple[Any, Any]]:
    from spacy_elmo.tasks.reading.annotations import get_answers, get_questions

    return list(zip(get_questions(example.reference), get_answers(doc), strict=True))


def _mean_scores(found: list[tuple[Any, Any]]) -> dict[str, float | None]:
    from spacy_elmo.tasks.reading.metrics import exact_match, f1_score, rouge_l

    metrics = {"em": exact_match, "f": f1_score, "rouge_l": rouge_l}
    values = {
        name: [metric(answers[0].text, q.answers) if answers else 0.0 for q, answers in found]
        for name, metric in metrics.items()
    }
    return {name: sum(own) / len(own) if own else None for name, own in values.items()}


def inputs_of(run: Run, data: Path, tests: list[Path], model: Path | None) -> dict[str, str]:
    """Return fingerprints of what the scores of a run depend on: its data, its tests and its biLM."""
    files = [data / "train.json", data / "dev.json", *tests]
    found = {file.stem: fingerprint(file) for file in files}
    return found if run.system == "baseline" else {**found, "biLM": fingerprint_of_bilm(model)}


def check_scores(file: Path, run: Run, inputs: dict[str, str]) -> None:
    """Raise a RunError if the scores of a run are of other settings, other data or another biLM."""
    if not file.exists():
        return
    found = read_json(file)
    if found["settings"] != run.settings:
        raise RunError(f"{file} has other settings: {' '.join(found['settings'])}. Delete it to train again.")
    other = [name for name, digest in inputs.items() if found.get("inputs", {}).get(name) != digest]
    if other:
        raise RunError(
            f"{file} was made with another file of {', '.join(other)}: delete it to train again, or give "
            "another folder for the scores."
        )


def run_all(
    runs: list[Run],
    output: Path,
    metrics: Path,
    configs: Path,
    data: Path,
    tests: list[Path],
    model: Path | None,
) -> Iterator[str]:
    """Train and test the runs without scores; yield a line for each run. Raises RunError."""
    kinds = {run.system == "baseline": run for run in runs}  # each file is read once, not for every run
    inputs = {baseline: inputs_of(run, data, tests, model) for baseline, run in kinds.items()}
    for run in runs:  # before the first training
        check_scores(metrics / f"{run.name}.json", run, inputs[run.system == "baseline"])
    for run in runs:
        file = metrics / f"{run.name}.json"
        if not file.exists():
            config = make_config(run, configs, model)
            paths = ["--paths.train", str(data / "train.json"), "--paths.dev", str(data / "dev.json")]
            if run.system != "baseline":
                paths += ["--paths.cache", str(output / "cache")]
            seconds, peak = train(run, config, output / run.name, paths)
            scores = evaluate(output / run.name, data / "dev.json", tests)
            costs = {"training_seconds": seconds, "peak_mb": peak}
            made_with = {"settings": run.settings, "inputs": inputs[run.system == "baseline"]}
            write_json(file, {**scores, **costs, **made_with})
        scores = read_json(file)
        results = ", ".join(f"{test.stem} F1 {100 * scores[test.stem]['all']['f']:.2f}" for test in tests)
        yield f"{run.name}: {results}"


def main(
    data: Path = typer.Argument(..., help="Folder of train.json, dev.json and the tests."),
    output: Path = typer.Argument(..., help="Where the trained pipelines and the logs go."),
    metrics: Path = typer.Argument(..., help="Where the scores go, a file a run."),
    test: list[str] = typer.Option(["DRCD_test", "cmrc2018_trial"], help="Names of the tests."),
    configs: Path = typer.Option(Path("../../configs"), help="Folder of the configs."),
    model: Path | None = typer.Option(None, help="Model folder of the biLM; none: the bundled model."),
    label: str = typer.Option("", help="Name of that biLM in the tables: letters, digits and hyphens."),
    systems: str = typer.Option(" ".join(SYSTEMS), help="Systems to compare, as one argument."),
    seeds: str = typer.Option("0 1 2", help="Seeds, as one argument."),
    questions: str = typer.Option("0", help='Numbers of training questions, such as "1000 2000 0"; 0: all.'),
    steps: str = typer.Option(
        "1000", help="Steps of a training: one number for all, or one for each number."
    ),
) -> None:
    """Train and test all runs."""
    unknown = set(systems.split()) - set(SYSTEMS)
    if unknown:
        fail(f"There is no system {', '.join(sorted(unknown))}: give some of {', '.join(SYSTEMS)}.")
    if bool(label) != (model is not None) or not re.fullmatch("[a-zA-Z0-9-]*", label):
        fail("--model and --label belong together: give both, the label in letters, digits and hyphens.")
    numbers, lengths = _option("--questions", questions), _option("--steps", steps, smallest=1)
    if len(lengths) not in (1, len(numbers)):
        fail(f"--steps has {len(lengths)} numbers: give one, or as many as --questions has ({len(numbers)}).")
    lengths = lengths * len(numbers) if len(lengths) == 1 else lengths
    runs = [
        Run(system, seed, number, label, length)
        for number, length in zip(numbers, lengths, strict=True)
        for seed in _option("--seeds", seeds)
        for system in systems.split()
    ]
    tests = [data / f"{name}.json" for name in test]
    try:
        for line in run_all(runs, output, metrics, configs, data, tests, model):
            typer.echo(line)
    except (RunError, OSError, ValueError) as error:
        fail(str(error))


def _option(name: str, text: str, *, smallest: int = 0) -> list[int]:
    """Return the whole numbers of an option. Ends the script if there is something else."""
    try:
        return read_numbers(text, smallest=smallest)
    except ValueError as error:
        fail(f"{name}: {error}")


if __name__ == "__main__":
    typer.run(main)

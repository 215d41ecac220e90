"""Train the compared taggers and entity recognisers: each component, with and without ELMo, for each seed.

Every run is a `spacy train` in its own process with one thread; several run at a time. Both sides of a
comparison have the same seed, sentences and options.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import features
import typer
from io_utils import fail, read_json, read_numbers
from thinc.api import Config
from training_process import RunError, run_training

from spacy_elmo.inference.loading import bundled_model_path, read_config

TASKS = ("tagger", "ner")
SYSTEMS = ("baseline", "elmo")
SCORES = {"tagger": "tag_acc", "ner": "ents_f"}


@dataclass(frozen=True)
class Run:
    """One training: a component, with or without ELMo, one seed."""

    task: str
    system: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the run in file names."""
        return f"{self.task}_{self.system}_{self.seed}"

    @property
    def config(self) -> str:
        """File name of the config."""
        return f"{self.task}.cfg" if self.system == "elmo" else f"{self.task}_baseline.cfg"


def plan(seeds: str, tasks: str = " ".join(TASKS)) -> list[Run]:
    """Return all runs of the comparison, slow ones first, so that all end together.

    seeds: such as "0 1 2". tasks: names of TASKS. Raises RunError for others.
    """
    try:
        numbers = read_numbers(seeds)
    except ValueError as error:
        raise RunError(f"The seeds are wrong: {error}") from error
    chosen = list(dict.fromkeys(tasks.split()))
    if not chosen or not set(chosen) <= set(TASKS):
        raise RunError(f"'{tasks}' is not a list of tasks: choose from {', '.join(TASKS)}.")
    systems = sorted(SYSTEMS, reverse=True)
    return [
        Run(task, system, seed) for system in systems for task in chosen for seed in dict.fromkeys(numbers)
    ]


def configs_for(model: Path, configs: Path, output: Path) -> Path:
    """Return the folder of the configs for a biLM.

    The distilled tagger reads the layers of the bundled model, and the lexicon is that model's table of
    static vectors. For another biLM, copies of the configs are written to `output`: without the tagger, and
    with the lexicon of that biLM, or without one if it has no static vectors.
    """
    if model.resolve() == bundled_model_path().resolve():
        return configs
    copies = output / "configs"
    copies.mkdir(parents=True, exist_ok=True)
    has_lexicon = read_config(model).n_static_vectors > 0
    for run in plan("0"):
        config = Config().from_disk(configs / run.config, interpolate=False)
        parts = config["components"][run.task]["model"]["tok2vec"]["embed"].get("*", {})
        parts.pop("tagger", None)
        if "lexicon" in parts and has_lexicon:
            parts["lexicon"]["path"] = str(model.resolve())
        else:
            parts.pop("lexicon", None)
        config.to_disk(copies / run.config)
    return copies


def command(
    run: Run, *, configs: Path, output: Path, model: Path, gpu: int, options: Sequence[str]
) -> list[str]:
    """Return the `spacy train` command of one run."""
    call = [sys.executable, "-m", "spacy", "train", str(configs / run.config)]
    call += ["--output", str(output / run.name), "--gpu-id", str(gpu)]
    call += ["--system.seed", str(run.seed), *options]
    if run.system == "elmo":
        call += ["--components.elmo.model.path", str(model)]
    return call


def train(run: Run, call: Sequence[str], log: Path) -> float:
    """Run one training with its output in `log`; return its seconds. Raises RunError if it fails."""
    start = time.monotonic()
    run_training(run.name, call, log)
    return time.monotonic() - start


def best_score(run: Run, output: Path) -> str:
    """Return the score of the best evaluation on the development data, from the saved pipeline."""
    performance = read_json(output / run.name / "model-best" / "meta.json")["performance"]
    return f"{SCORES[run.task]} {100 * performance[SCORES[run.task]]:.2f} on dev"


def train_all(runs: Sequence[Run], calls: Sequence[Sequence[str]], output: Path, jobs: int) -> Iterator[str]:
    """Train `jobs` runs at a time; yield a line for each finished run. After a failure, start no more."""
    with ThreadPoolExecutor(jobs) as pool:
        logs = [output / "logs" / f"{run.name}.log" for run in runs]
        done = [pool.submit(train, *one) for one in zip(runs, calls, logs, strict=True)]
        try:
            for number, (run, seconds) in enumerate(zip(runs, done, strict=True), start=1):
                took = seconds.result()
                yield f"[{number}/{len(runs)}] {run.name}: {best_score(run, output)}, {took:.0f} s"
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def main(
    train_data: Path = typer.Argument(..., help="The training sentences, .spacy."),
    dev_data: Path = typer.Argument(..., help="The development sentences, .spacy."),
    model: Path = typer.Argument(..., help="The model folder of the biLM."),
    output: Path = typer.Argument(..., help="Where the trained pipelines and the logs go."),
    configs: Path = typer.Option(Path("../../configs"), help="Folder of the configs."),
    seeds: str = typer.Option("0 1 2", help="Seeds, as one argument."),
    tasks: str = typer.Option(" ".join(TASKS), help="Tasks, as one argument."),
    max_steps: int = typer.Option(600, min=1, help="Steps of each training."),
    eval_frequency: int = typer.Option(
        100, min=1, help="Steps between evaluations; the best one is kept. It divides --max-steps."
    ),
    dropout: float = typer.Option(
        0.4, min=0.0, max=0.95, help="Dropout of the tasks' own layers, on both sides."
    ),
    suffix: int = typer.Option(1, min=1, help="Characters of the suffix that the embeddings see, spaCy: 3."),
    jobs: int = typer.Option(2, min=1, help="Trainings at a time."),
    gpu: int = typer.Option(-1, help="GPU to train on, -1: none."),
) -> None:
    """Train all runs of the comparison."""
    options = ["--paths.train", str(train_data), "--paths.dev", str(dev_data)]
    options += ["--training.max_steps", str(max_steps), "--training.eval_frequency", str(eval_frequency)]
    options += ["--training.dropout", str(dropout)]
    options += ["--training.patience", "0"]  # both sides train to the end; the best evaluation counts
    options += features.options(suffix)
    try:
        runs = plan(seeds, tasks)
        if max_steps % eval_frequency:
            raise RunError(
                f"--max-steps {max_steps} is not a multiple of --eval-frequency {eval_frequency}, so the "
                "last steps would never be chosen: change one of them."
            )
        configs = configs_for(model, configs, output)
        typer.echo(f"{len(runs)} trainings, {jobs} at a time; logs in {output / 'logs'}")
        calls = [
            command(run, configs=configs, output=output, model=model, gpu=gpu, options=options)
            for run in runs
        ]
        for line in train_all(runs, calls, output, jobs):
            typer.echo(line)
    except (RunError, OSError, ValueError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)

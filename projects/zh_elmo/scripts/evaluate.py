"""Score the trained pipelines on the words of the test part, with one JSON file per run."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import features  # noqa: F401  registers what the pipelines may name
import spacy
import typer
from io_utils import fail, write_json
from spacy.language import Language
from spacy.training import Corpus
from train_seeds import TASKS, Run, RunError, plan

from spacy_elmo.pipeline.layer_weights import collect_layer_weights

# The first of each is the one that counts.
SCORES = {"tagger": ["tag_acc"], "ner": ["ents_f", "ents_p", "ents_r", "ents_per_type"]}

SETTINGS = ("max_steps", "dropout")  # of the training, which compared runs share


def mix(nlp: Language, task: str) -> dict[str, Any] | None:
    """Return the layer weights of a component's first mix, softmax(w), and gamma. None without ELMo."""
    for found in collect_layer_weights(nlp):
        if found.component.split(" ")[0] == task:
            return {"weights": found.weights.tolist(), "gamma": found.gamma}
    return None


def evaluate(run: Run, pipeline: Path, test_data: Path, gpu: int) -> dict[str, Any]:
    """Return all scores of one run (fractions of one), its mix, and the settings of its training."""
    if gpu >= 0:
        spacy.require_gpu(gpu)
    nlp = spacy.load(pipeline)
    scores = nlp.evaluate(Corpus(test_data, gold_preproc=True)(nlp))
    result = {"task": run.task, "system": run.system, "seed": run.seed}
    result["settings"] = {name: nlp.config["training"][name] for name in SETTINGS}
    return {**result, **{key: scores[key] for key in SCORES[run.task]}, "mix": mix(nlp, run.task)}


def evaluate_all(
    runs: Sequence[Run], training: Path, test_data: Path, output: Path, jobs: int, gpu: int
) -> None:
    """Evaluate `jobs` runs at a time and write `output`/<run>.json for each."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the child processes, which would compete for the cores
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        pipelines = [training / run.name / "model-best" for run in runs]
        results = [
            pool.submit(evaluate, run, path, test_data, gpu)
            for run, path in zip(runs, pipelines, strict=True)
        ]
        try:
            for number, (run, result) in enumerate(zip(runs, results, strict=True), start=1):
                scores = result.result()
                write_json(output / f"{run.name}.json", scores)
                first = SCORES[run.task][0]
                typer.echo(f"[{number}/{len(runs)}] {run.name}: {first} {100 * scores[first]:.2f} on test")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def main(
    training: Path = typer.Argument(..., help="Where the trained pipelines are."),
    test_data: Path = typer.Argument(..., help="The test sentences, .spacy."),
    output: Path = typer.Argument(..., help="Folder for the scores."),
    seeds: str = typer.Option("0 1 2", help="Seeds, as one argument."),
    tasks: str = typer.Option(" ".join(TASKS), help="Tasks, as one argument."),
    jobs: int = typer.Option(2, min=1, help="Evaluations at a time."),
    gpu: int = typer.Option(-1, help="GPU to run on, -1: none."),
) -> None:
    """Score all runs of the comparison on the test part."""
    try:
        evaluate_all(plan(seeds, tasks), training, test_data, output, jobs, gpu)
    except (RunError, OSError, ValueError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)

"""Measure what the pipelines of study_encoders cost in prediction: words per second, memory, weights.

One process has all pipelines and times them in turn on the same sentences, with one thread. The peak of the
memory is that of a new process for each pipeline, which Linux measures. Training changes neither, so the
components have only been initialized. A fine-tuned encoder predicts as a frozen one does.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
import typer
from e5_encoder import E5Error
from e5_file import e5_path
from e5_layer import frozen_encoder
from io_utils import fail, write_json
from probe import copies
from spacy.language import Language
from spacy.training import Example
from spacy.training.initialize import init_nlp
from study import WITHOUT, Cell, Data, StudyError, sample
from study_curve import BUNDLED
from study_encoders import FROZEN, make_encoder_config

from spacy_elmo.inference.loading import bundled_model_path, load
from spacy_elmo.pretraining.memory import peak_bytes

STUDY = "encoder_costs"
HALF = "e5 frozen, bfloat16"  # products of the encoder in bfloat16
SYSTEMS = (WITHOUT, BUNDLED, FROZEN, HALF)


def make_pipeline(system: str, task: str, data: Data) -> Language:
    """Return an initialized pipeline that keeps no layers."""
    config = make_encoder_config(Cell(STUDY, FROZEN if system == HALF else system, task, 0, 0), data)
    if system in (FROZEN, HALF):
        encoder = config["components"][task]["model"]["tok2vec"]["embed"]["*"]["e5"]
        encoder |= {"cache": None, "bfloat16": system == HALF}
    return init_nlp(config)


def run(nlp: Language, examples: list[Example]) -> float:
    """Return the seconds that a pipeline takes for the sentences."""
    docs = [each.predicted for each in copies(nlp, examples)]
    start = time.monotonic()
    for _ in nlp.pipe(docs):
        pass
    return time.monotonic() - start


def speeds(task: str, data: Data, rounds: int) -> Iterator[tuple[str, float]]:
    """Yield each system and its words per second, the median over the rounds."""
    pipelines = {system: make_pipeline(system, task, data) for system in SYSTEMS}
    examples = sample(pipelines[WITHOUT], data.test, data.test_sentences)
    words = sum(len(each.reference) for each in examples)
    seconds: dict[str, list[float]] = {system: [] for system in SYSTEMS}
    for _ in range(rounds + 1):  # the first one is not counted
        for system, nlp in pipelines.items():
            seconds[system].append(run(nlp, examples))
    for system in SYSTEMS:
        yield system, words / median(seconds[system][1:])


def peak_memory() -> float:
    """Return the peak of this process's resident memory, in MiB."""
    peak = peak_bytes(torch.device("cpu"))
    if not peak:
        raise StudyError("This system does not report the peak of a process's memory: use Linux.")
    return peak / 2**20


def memory(system: str) -> float:
    """Return the peak memory of a system, in MiB, from this script in a new process with the same options."""
    call = [sys.executable, *sys.argv, "--only", system]
    return float(subprocess.run(call, check=True, capture_output=True, text=True).stdout)


def weights(system: str) -> tuple[int, int]:
    """Return the number of a system's pretrained weights, and their bytes on disk."""
    if system == WITHOUT:
        return 0, 0
    if system == BUNDLED:
        folder = bundled_model_path()
        count = sum(each.numel() for each in load(folder).parameters())
        return count, sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    encoder = frozen_encoder()
    count = sum(each.numel() for each in encoder.parameters())
    return count + encoder.file.sizes.vocabulary * encoder.width, e5_path().stat().st_size


def main(
    train: Path = typer.Argument(..., help="Training sentences, .spacy, for the labels."),
    test: Path = typer.Argument(..., help="Test sentences, .spacy."),
    metrics: Path = typer.Argument(..., help="Folder for the results of all studies."),
    task: str = typer.Option("tagger", help="tagger or ner."),
    sentences: int = typer.Option(300, min=1, help="Test sentences to process."),
    rounds: int = typer.Option(3, min=1, help="Rounds, of which the median counts."),
    configs: Path = typer.Option(Path("../../configs"), help="Folder of the configs."),
    only: str = typer.Option("", hidden=True, help="Print the peak memory of one system, in MiB."),
) -> None:
    """Measure all systems and write one file."""
    try:
        torch.set_num_threads(1)
        data = Data(train, test, 0, sentences, Path(), configs)
        if only:
            nlp = make_pipeline(only, task, data)
            run(nlp, sample(nlp, test, sentences))
            print(peak_memory())
            return
        rows: list[dict[str, Any]] = []
        for system, speed in speeds(task, data, rounds):
            count, size = weights(system)
            rows.append({"task": task, "system": system, "words_per_second": speed, "mib": memory(system)})
            rows[-1] |= {"weights": count, "bytes": size, "sentences": sentences, "rounds": rounds}
            typer.echo(f"{system:>22}: {speed:8,.0f} words/s, {rows[-1]['mib']:6,.0f} MiB")
        write_json(metrics / STUDY / f"{task}.json", rows)
    except (StudyError, E5Error, OSError, ValueError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)

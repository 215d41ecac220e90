"""Study the settings of the mix: one setting at a time differs from the plain configuration."""

from pathlib import Path
from typing import Any

import typer
from io_utils import fail
from study import WITHOUT, Cell, Data, StudyError, check_known, numbers, run_all

STUDY = "knobs"
PLAIN = {"mix_dropout": 0.1, "weight_penalty": 0.001}
KNOBS: dict[str, dict[str, dict[str, Any]]] = {
    "dropout": {f"dropout {rate}": {"mix_dropout": rate} for rate in (0.0, 0.25, 0.5, 0.7)},
    "gamma": {f"gamma fixed at {gamma}": {"fixed_gamma": gamma} for gamma in (0.1, 1.0, 10.0)},
    "l2": {f"L2 {penalty}": {"weight_penalty": penalty} for penalty in (0.0, 0.01, 1.0)},
    "layers": {
        "layer 0 alone": {"fixed_weights": [1, 0, 0]},
        "layer 1 alone": {"fixed_weights": [0, 1, 0]},
        "layer 2 alone": {"fixed_weights": [0, 0, 1]},
        "plain average": {"fixed_weights": [1, 1, 1]},
    },
}
BASE = "plain"  # dropout 0.1, L2 0.001, gamma and weights trained, next to spaCy's embeddings
ALONE = "ELMo alone"


def plan(task: str, sentences: int, seeds: list[int], wanted: list[str]) -> list[Cell]:
    """Return the cells of a study, by seed, so that a study that is cut short has whole seeds."""
    check_known(wanted, KNOBS, "setting")
    cells = []
    for seed in seeds:
        key = (task, sentences, seed)
        cells += [Cell(STUDY, WITHOUT, *key), Cell(STUDY, BASE, *key, PLAIN)]
        cells += [
            Cell(STUDY, system, *key, {**PLAIN, **settings})
            for knob in wanted
            for system, settings in KNOBS[knob].items()
        ]
        cells.append(Cell(STUDY, ALONE, *key, PLAIN, alone=True))
    return cells


def main(
    train: Path = typer.Argument(..., help="Training sentences, .spacy."),
    test: Path = typer.Argument(..., help="Test sentences, .spacy."),
    metrics: Path = typer.Argument(..., help="Folder for the results of all studies."),
    task: str = typer.Option("tagger", help="tagger or ner."),
    sentences: int = typer.Option(500, min=1, help="Training sentences."),
    seeds: str = typer.Option("0 1 2", help="Seeds, as one argument."),
    steps: int = typer.Option(500, min=1, help="Steps of each training."),
    test_sentences: int = typer.Option(0, min=0, help="Test sentences, 0: all."),
    knobs: str = typer.Option("dropout gamma l2 layers", help="Settings, as one argument."),
    cache: Path = typer.Option(Path("training/cache"), help="Folder for the layers of sentences."),
    configs: Path = typer.Option(Path("../../configs"), help="Folder of the configs."),
) -> None:
    """Run the cells that are missing."""
    try:
        data = Data(train, test, steps, test_sentences, cache, configs)
        run_all(plan(task, sentences, numbers(seeds), knobs.split()), data, metrics)
    except (StudyError, OSError, ValueError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)

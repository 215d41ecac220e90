"""Study the score by the number of training sentences, without ELMo and with several biLMs."""

from pathlib import Path

import typer
from io_utils import fail
from study import WITHOUT, Cell, Data, StudyError, numbers, run_all

STUDY = "curve"
BUNDLED = "bundled model"


def plan(
    task: str, sizes: list[int], seeds: list[int], models: list[str], dataset: str | None = None
) -> list[Cell]:
    """Return the cells, small sizes first. models: further biLMs as "NAME=FOLDER"."""
    systems: dict[str, str | None] = {WITHOUT: None, BUNDLED: None}
    for each in models:
        name, separator, folder = each.partition("=")
        if not separator or not name or not folder or name in systems:
            raise StudyError(f"'{each}' names no further biLM; write NAME=FOLDER, with a new name.")
        systems[name] = folder
    return [
        Cell(STUDY, system, task, size, seed, model=folder, dataset=dataset)
        for size in sizes
        for seed in seeds
        for system, folder in systems.items()
    ]


def main(
    train: Path = typer.Argument(..., help="Training sentences, .spacy."),
    test: Path = typer.Argument(..., help="Test sentences, .spacy."),
    metrics: Path = typer.Argument(..., help="Folder for the results of all studies."),
    task: str = typer.Option("tagger", help="tagger or ner."),
    sizes: str = typer.Option("100 250 500 1000 2000 5000 0", help="Training sentences, 0: all."),
    seeds: str = typer.Option("0 1 2", help="Seeds, as one argument."),
    steps: int = typer.Option(500, min=1, help="Steps of each training."),
    test_sentences: int = typer.Option(0, min=0, help="Test sentences, 0: all."),
    model: list[str] = typer.Option([], help="A further biLM, NAME=FOLDER."),
    dataset: str | None = typer.Option(
        None, help="Name of the data in the tables; none: the People's Daily."
    ),
    cache: Path = typer.Option(Path("training/cache"), help="Folder for the layers of sentences."),
    configs: Path = typer.Option(Path("../../configs"), help="Folder of the configs."),
) -> None:
    """Run the cells that are missing."""
    try:
        data = Data(train, test, steps, test_sentences, cache, configs)
        run_all(plan(task, numbers(sizes), numbers(seeds), model, dataset), data, metrics)
    except (StudyError, OSError, ValueError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)

"""Tell the gain of ELMo by the length of sentences and entities, from the cells of the learning curve."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer
from io_utils import fail, read_json, write_json
from lengths import score
from study import WITHOUT, StudyError
from study_curve import BUNDLED

STUDY = "length"


def gains(cells: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each kind and class of length: the scores of both sides, over their common seeds."""
    cells = list(cells)
    seeds = [{each["seed"] for each in cells if each["system"] == name} for name in (WITHOUT, BUNDLED)]
    cells = [each for each in cells if each["seed"] in seeds[0] & seeds[1]]
    sides = {name: pooled([each for each in cells if each["system"] == name]) for name in (WITHOUT, BUNDLED)}
    rows = []
    for key, count in sorted(sides[WITHOUT].items(), key=lambda item: (item[0][0], _first(item[0][1]))):
        if count["all"] and key in sides[BUNDLED]:
            scores = {name: score(side[key]) for name, side in sides.items()}
            rows.append({"kind": key[0], "length": key[1], "all": count["all"], **scores})
    return rows


def pooled(cells: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, int]]:
    """Add up the counts of cells, by kind and class of length."""
    total: dict[tuple[str, str], dict[str, int]] = {}
    for cell in cells:
        for kind, classes in cell["lengths"].items():
            for length, count in classes.items():
                into = total.setdefault((kind, length), dict.fromkeys(count, 0))
                for what, n in count.items():
                    into[what] += n
    return total


def _first(length: str) -> int:
    return int(length.rstrip("+").partition("-")[0])


def main(
    metrics: Path = typer.Argument(..., help="Folder with the results of all studies."),
    task: str = typer.Option("tagger", help="tagger or ner."),
    sentences: int = typer.Option(500, min=0, help="Training sentences of the cells."),
) -> None:
    """Write the rows of one task."""
    try:
        found = [read_json(path) for path in sorted((metrics / "curve").glob(f"{task}_{sentences}_*.json"))]
        rows = gains(found)
        if not rows:
            raise StudyError(
                f"{metrics / 'curve'} has no cells of {task} with {sentences} sentences: run `study-curve`."
            )
        write_json(metrics / STUDY / f"{task}_{sentences}.json", rows)
        for row in rows:
            typer.echo(
                f"{row['kind']:>8} {row['length']:>6} {100 * row[WITHOUT]:7.2f} {100 * row[BUNDLED]:7.2f}"
            )
    except (StudyError, OSError, ValueError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)

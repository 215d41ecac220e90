"""Combine all comparisons of the bundled model in one table, by the number of labelled sentences."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean

import typer
from io_utils import fail, read_json, read_numbers, write_atomic
from report import Scores, check_settings, fewer_errors, markdown_table, percent
from train_seeds import SYSTEMS, RunError

PREFIX = "bundled_"
MEASURES = (("tagging accuracy", "tagger", "tag_acc"), ("entities F1", "ner", "ents_f"))


def read_all(metrics: Path, seeds: Sequence[int]) -> dict[int, list[Scores]]:
    """Read the scores of the runs with some seeds, by the number of training sentences.

    Raises a RunError if there are none, or if runs of one number were trained with different settings.
    """
    found = {}
    for folder in metrics.glob(f"{PREFIX}*"):
        size = folder.name.removeprefix(PREFIX)
        if size.isdigit():
            files = [path for path in sorted(folder.glob("*.json")) if path.name != "perplexity.json"]
            found[int(size)] = [run for path in files if (run := read_json(path))["seed"] in seeds]
            check_settings(found[int(size)])
    if not any(found.values()):
        raise RunError(
            f"There is no comparison of the bundled model in {metrics}: run `evaluate-bundled` first."
        )
    return dict(sorted(found.items()))


def of_system(scores: Sequence[Scores], task: str, system: str, key: str) -> list[float]:
    """Return the values of one measure, one per seed."""
    return [s[key] for s in scores if (s["task"], s["system"]) == (task, system)]


def crossing(points: Sequence[tuple[int, float]], level: float) -> int | None:
    """Return where the points (sentences, score) reach `level`; None if all are below, or the first is above.

    Between two points, the log of the error is interpolated linearly over the log of the sentences.
    """
    for (n, score), (more, better) in pairwise(points):
        if score < level <= better:
            log_errors = [math.log(max(1e-9, 1 - x)) for x in (score, level, better)]
            share = (log_errors[0] - log_errors[1]) / (log_errors[0] - log_errors[2])
            return round(math.exp(math.log(n) + share * (math.log(more) - math.log(n))))
    return None


def table(found: dict[int, list[Scores]]) -> str:
    """Format a table with one row for each measure and number of sentences."""
    rows = [["on the test part", "sentences", "baseline", "+ ELMo", "errors"]]
    for name, task, key in MEASURES:
        for size, scores in found.items():
            baseline, elmo = (of_system(scores, task, system, key) for system in SYSTEMS)
            change = fewer_errors(baseline, elmo) if baseline and elmo else "-"
            rows.append([name, f"{size:,}", *(percent(x) if x else "-" for x in (baseline, elmo)), change])
    return markdown_table(rows)


def meetings(found: dict[int, list[Scores]]) -> list[str]:
    """Format, for each measure, with how many sentences +ELMo reaches the best score of the baseline."""
    lines = []
    for name, task, key in MEASURES:
        means = {
            system: [(n, mean(x)) for n, s in found.items() if (x := of_system(s, task, system, key))]
            for system in SYSTEMS
        }
        if not all(means.values()):
            continue
        most, level = means["baseline"][-1]
        where = crossing(means["elmo"], level)
        least, lowest = means["elmo"][0]
        if lowest >= level:
            lines.append(f"- {name}: + ELMo with {least:,} sentences is above the baseline with {most:,}.")
        elif where is not None:
            lines.append(
                f"- {name}: + ELMo with about {where:,} sentences equals the baseline with {most:,}."
            )
    return lines


def main(
    metrics: Path = typer.Argument(
        ..., help="Folder of folders of scores, one for each number of sentences."
    ),
    output: Path = typer.Argument(..., help="Where to write the table, Markdown."),
    seeds: str = typer.Option("0 1 2", help="Seeds, as one argument."),
) -> None:
    """Write and print the table."""
    try:
        found = read_all(metrics, read_numbers(seeds))
        text = "\n".join([table(found), "", *meetings(found)]).rstrip() + "\n"
        write_atomic(output, text.encode("utf8"))
        typer.echo(text)
    except (RunError, OSError, ValueError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)

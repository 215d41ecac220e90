"""Summarise the scores of all runs: baseline against +ELMo, mean and deviation over the same seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import typer
from io_utils import fail, read_json, write_atomic
from train_seeds import SYSTEMS, TASKS, Run, RunError, plan

Scores = dict[str, Any]
"""Scores of one run, written by evaluate.py."""
MEASURES = [("precision", "p"), ("recall", "r"), ("F1", "f")]


def percent(values: Sequence[float]) -> str:
    """Format the mean and standard deviation of fractions in percent: `81.74 ± 0.21`.

    One value has no deviation.
    """
    deviation = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f}{deviation}"


def fewer_errors(baseline: Sequence[float], elmo: Sequence[float]) -> str:
    """Format the change of the mean error, 1 - score: `-22.1 %` means 22.1 % fewer errors."""
    before, after = 1 - mean(baseline), 1 - mean(elmo)
    return f"{100 * (after - before) / before:+.1f} %" if before > 0 else "no errors"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table that is readable as text; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def comparison(scores: Sequence[Scores]) -> str:
    """Format the table of the comparison, with all scores in percent."""

    def row(name: str, task: str, get: Callable[[Scores], float]) -> list[str]:
        baseline, elmo = ([get(s) for s in scores if (s["task"], s["system"]) == (task, x)] for x in SYSTEMS)
        return [name, percent(baseline), percent(elmo), fewer_errors(baseline, elmo)]

    rows = [["on the test part", "baseline", "+ ELMo", "errors"]]
    tasks = {s["task"] for s in scores}
    if "tagger" in tasks:
        rows.append(row("tagging accuracy", "tagger", lambda s: s["tag_acc"]))
    if "ner" in tasks:
        rows += [row(f"entities {name}", "ner", lambda s, k=key: s[f"ents_{k}"]) for name, key in MEASURES]
    for label in sorted({label for s in scores if s["task"] == "ner" for label in s["ents_per_type"]}):
        rows += [
            # a run that neither found nor missed a label has no score for it
            row(
                f"{label} {name}",
                "ner",
                lambda s, x=label, key=key: s["ents_per_type"].get(x, {}).get(key, 0.0),
            )
            for name, key in MEASURES
        ]
    return markdown_table(rows)


def mixes(scores: Sequence[Scores]) -> str:
    """Format the layer weights of each component, mean over the seeds."""
    learned = {task: [s["mix"] for s in scores if s["task"] == task and s["mix"]] for task in TASKS}
    depth = max((len(m["weights"]) for each in learned.values() for m in each), default=0)
    rows = [["learned mix", *(f"layer {j}" for j in range(depth)), "gamma"]]
    for task, each in learned.items():
        if each:
            weights = [mean(m["weights"][j] for m in each) for j in range(depth)]
            rows.append([task, *(f"{w:.2f}" for w in weights), f"{mean(m['gamma'] for m in each):.2f}"])
    return markdown_table(rows)


def perplexities(path: Path) -> str:
    """Format the perplexities of the biLM on the raw test text, from `spacy elmo evaluate`."""
    measures = read_json(path)
    rows = [["biLM on the raw test text", ""]]
    rows += [
        [name.replace("_", " "), f"{value:,.1f}" if isinstance(value, float) else str(value)]
        for name, value in measures.items()
        if isinstance(value, int | float | str)
    ]
    return markdown_table(rows)


def check_settings(scores: Sequence[Scores]) -> None:
    """Raise a RunError if the runs of a task have other steps or another dropout than one another."""
    for task in TASKS:
        settings = [s.get("settings") for s in scores if s["task"] == task]
        if any(each != settings[0] for each in settings):
            raise RunError(
                f"the runs of {task} were trained with different settings, {settings[0]} and "
                f"{next(each for each in settings if each != settings[0])}: train and evaluate them again"
            )


def load(metrics: Path, runs: Sequence[Run]) -> list[Scores]:
    """Load the scores of all runs. Raises an OSError, a ValueError or a RunError."""
    scores = [read_json(metrics / f"{run.name}.json") for run in runs]
    check_settings(scores)
    return scores


def main(
    metrics: Path = typer.Argument(..., help="Folder of the scores."),
    output: Path = typer.Argument(..., help="The Markdown file to write."),
    seeds: str = typer.Option("0 1 2", help="Seeds, as one argument."),
    tasks: str = typer.Option(" ".join(TASKS), help="Tasks, as one argument."),
    sentences: int = typer.Option(500, help="Training sentences, for the title."),
    perplexity: bool = typer.Option(True, help="Also report perplexity.json, that of the biLM."),
) -> None:
    """Write the table, and print it."""
    try:
        scores = load(metrics, plan(seeds, tasks))
        title = f"# ELMo against the baseline, {sentences} training sentences, seeds {seeds}"
        tables = [comparison(scores), mixes(scores)]
        if perplexity:
            tables.append(perplexities(metrics / "perplexity.json"))
    except (RunError, OSError, ValueError) as error:
        fail(f"The scores cannot be read ({error}); run the command 'evaluate' first.")
    text = "\n\n".join([title, *tables])
    write_atomic(output, (text + "\n").encode("utf8"))
    typer.echo(f"{text}\n\nwritten to {output}")


if __name__ == "__main__":
    typer.run(main)

"""Write the tables of the reading comparison."""

import statistics
from pathlib import Path
from typing import Any

import typer
from io_utils import fail, read_json, write_atomic

METRICS = {"em": "EM", "f": "F1", "rouge_l": "Rouge-L"}
NAMES = {
    "baseline": "BiDAF without ELMo",
    "elmo": "+ ELMo at the input",
    "elmo_twice": "+ ELMo at the input and after the modelling layer",
    "elmo_lexicon": "+ ELMo, static vectors and lexicon groups at the input",
}


def name_of(system: str) -> str:
    """Return the name in the tables; a label after a hyphen names a biLM that is not the bundled one."""
    system, _, label = system.partition("-")
    return NAMES.get(system, system) + (f", biLM: {label}" if label else "")


def table(metrics: Path) -> str:
    """Format all runs: mean and deviation over the seeds, by number of questions, test and answer length."""
    groups: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for path in sorted(metrics.glob("*.json")):
        system, questions, seed = path.stem.rsplit("_", 2)
        groups.setdefault((system, questions), {})[int(seed)] = read_json(path)
    if not groups:
        raise ValueError(f"There are no scores in {metrics}: run `spacy project run reading` first.")
    check_groups(groups)
    order = {name: i for i, name in enumerate(NAMES)}
    rows = sorted(
        groups.items(), key=lambda g: (number_of(g[0][1]), order.get(g[0][0].partition("-")[0], 9), g[0][0])
    )
    some = next(iter(next(iter(groups.values())).values()))
    tests = _tests(some)
    lines = ["# Reading comprehension", ""]
    for test in tests:
        lengths = [name for name in some[test] if name not in ("all", "no_answer_acc")]
        heads = [
            *METRICS.values(),
            *(f"F1, answers of {name}" for name in lengths),
            "refuses rightly",
            "seeds",
        ]
        lines += [f"## {test}", "", "| system | training questions | " + " | ".join(heads) + " |"]
        lines += ["|---|---|" + "---|" * len(heads)]
        for (system, questions), runs in rows:
            cells = [_mean([run[test]["all"][name] for run in runs.values()]) for name in METRICS]
            cells += [_mean([run[test][name]["f"] for run in runs.values()]) for name in lengths]
            cells += [_mean([run[test]["no_answer_acc"] for run in runs.values()])]
            cells += [" ".join(map(str, sorted(runs)))]
            lines += [f"| {name_of(system)} | {questions} | " + " | ".join(cells) + " |"]
        lines += [""]
    lines += [
        "## Cost",
        "",
        "| system | training questions | questions/s | training, processor minutes | peak memory, MB |",
    ]
    lines += ["|---|---|---|---|---|"]
    for (system, questions), runs in rows:
        own = runs.values()
        costs = " | ".join(
            [
                _cost([run.get("questions_per_second") for run in own], "{:.1f}"),
                _cost([run.get("training_seconds") for run in own], "{:.1f}", 60),
                _cost([run.get("peak_mb") for run in own], "{:.0f}"),
            ]
        )
        lines += [f"| {name_of(system)} | {questions} | {costs} |"]
    return "\n".join(lines) + "\n"


def check_groups(groups: dict[tuple[str, str], dict[int, dict[str, Any]]]) -> None:
    """Raise a ValueError if seeds of one row differ in settings, data or biLM, or if a test is missing."""
    tests = {name for runs in groups.values() for run in runs.values() for name in _tests(run)}
    for (system, questions), runs in groups.items():
        for key in ("settings", "inputs"):
            if len({str(run.get(key)) for run in runs.values()}) > 1:
                raise ValueError(
                    f"The seeds of {system}_{questions} differ in their {key}: delete some scores."
                )
        missing = sorted({name for run in runs.values() for name in tests - set(_tests(run))})
        if missing:
            raise ValueError(
                f"{system}_{questions} has no scores of {', '.join(missing)}: delete it, train again."
            )


def _tests(run: dict[str, Any]) -> list[str]:
    return [name for name, value in run.items() if isinstance(value, dict) and "all" in value]


def number_of(questions: str) -> float:
    """Return the number of questions in the name of a run; infinity for "all"."""
    return float("inf") if questions == "all" else int(questions)


def _cost(values: list[float | None], form: str, unit: float = 1.0) -> str:
    """Format the mean of the costs that were measured, "" if none was."""
    measured = [value for value in values if value]
    return form.format(statistics.mean(measured) / unit) if measured else ""


def _mean(values: list[float | None]) -> str:
    if None in values:
        return ""  # no question of that kind
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else mean


def main(
    metrics: Path = typer.Argument(..., help="Folder of the scores."),
    output: Path = typer.Argument(..., help="The table to write, .md."),
) -> None:
    """Write the tables."""
    try:
        text = table(metrics)
        write_atomic(output, text.encode("utf8"))
        typer.echo(text)
    except (OSError, ValueError) as error:
        fail(str(error))


if __name__ == "__main__":
    typer.run(main)

"""Compare the ranks of configurations in the probe with those in full training, as a table."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np
from report import percent
from study import NAMES
from study_probe import BROKEN, SYSTEMS

Row = dict[str, Any]
HEADER = [
    *("task", "configuration", "peak of the probe", "at step", "time of the probe", "sample fitted"),
    *("full training", "seeds", "rank in the probe", "rank in training"),
]


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, 1 for the highest; equal values share the mean of their ranks."""
    v = np.asarray(values)
    return [float((v > x).sum() + ((v == x).sum() + 1) / 2) for x in v]


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Spearman's rank correlation; not a number if all values of a list are equal."""
    x, y = (np.asarray(ranks(each)) - (len(each) + 1) / 2 for each in (a, b))
    spread = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / spread) if spread else float("nan")


def paired(probes: list[Row], trainings: list[Row], task: str) -> list[Row]:
    """Return the cells and mean scores of each system that has both a probe and a full training of a task."""
    found = []
    for system in SYSTEMS:
        one, other = (
            [each for each in cells if (each["task"], each["system"]) == (task, system)]
            for cells in (probes, trainings)
        )
        if one and other:
            peak = mean(each["peak"]["dev"] for each in one)
            score = mean(each["score"] for each in other)
            found.append({"system": system, "probes": one, "full": other, "peak": peak, "score": score})
    return found


def probe_table(probes: list[Row], trainings: list[Row]) -> list[list[str]]:
    """Return a row for each system with both of its ranks, and their correlation for each task."""
    table = [HEADER]
    for task, name in NAMES.items():
        rows = paired(probes, trainings, task)
        places = zip(ranks([r["peak"] for r in rows]), ranks([r["score"] for r in rows]), strict=True)
        table += [
            [name, *_measured(row), f"{in_probe:g}", f"{in_training:g}"]
            for row, (in_probe, in_training) in zip(rows, places, strict=True)
        ]
        sound = [row for row in rows if row["system"] not in BROKEN]
        for which, some in ((f"all {len(rows)}", rows), (f"the {len(sound)} sound ones", sound)):
            if len(some) > 1:
                value = spearman([row["peak"] for row in some], [row["score"] for row in some])
                table.append([name, f"Spearman, {which}", *[""] * 7, f"{value:.2f}"])
    return table


def _measured(row: Row) -> list[str]:
    """Return the columns from the configuration to the number of seeds."""
    peaks = [each["peak"] for each in row["probes"]]
    seconds = mean(each["rows"][-1]["seconds"] for each in row["probes"])
    fitted = [each["fitted"] for each in row["probes"]]
    scores = [each["score"] for each in row["full"]]
    return [
        row["system"],
        percent([peak["dev"] for peak in peaks]),
        f"{mean(peak['step'] for peak in peaks):.0f}",
        f"{seconds:.0f} s",
        "yes" if all(fitted) else "no" if not any(fitted) else f"{sum(fitted)} of {len(fitted)}",
        percent(scores),
        f"{len(scores)}",
    ]

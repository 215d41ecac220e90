"""Time several functions in turns, and print tables of the results."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

PAUSE = 0.05  # seconds before each run, because idle threads of torch spin for a while and would slow it down


def medians(
    runs: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Return the median seconds of each function, run in turns with pauses, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            time.sleep(PAUSE)
            start = clock()
            run()
            times[name].append(clock() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def show(what: str, heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Print a table with a row for each name. what: title of the column of names."""
    print(f"| {what} |" + "".join(f" {head} |" for head in heads) + "\n|---|" + "---|" * len(heads))
    for name, cells in rows.items():
        print(f"| {name} |" + "".join(f" {cell} |" for cell in cells))

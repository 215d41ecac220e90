"""How the benchmarks take the time of things that are compared, and show what they found."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

PAUSE = 0.05  # seconds before each: torch's idle threads spin for a while, and would take the next one's time


def medians(
    runs: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Seconds of each, in turns and with a pause between, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            time.sleep(PAUSE)
            start = clock()
            run()
            times[name].append(clock() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def show(what: str, heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """A table with a row for each name. what: the title above the names."""
    print(f"| {what} |" + "".join(f" {head} |" for head in heads) + "\n|---|" + "---|" * len(heads))
    for name, cells in rows.items():
        print(f"| {name} |" + "".join(f" {cell} |" for cell in cells))

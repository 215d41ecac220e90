"""`spacy elmo plot`: draw the learning curves of pretraining runs."""

import math
from pathlib import Path
from typing import Any

import typer
from wasabi import msg

from ..errors import ElmoError
from .app import command
from .pictures import check_file, literal, make_figure, save_figure


@command("plot")
def plot(
    runs: list[Path] = typer.Argument(..., help="Output folders of `spacy elmo pretrain`, one or several"),
    output: Path = typer.Argument(..., help="Picture to write, NAME.svg or NAME.png"),
) -> None:
    """Draw the held-out perplexity of pretraining runs; for a single run, also the training perplexity."""
    from ..pretraining.metrics import plot_perplexity

    check_file(output)
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = list(map(str, runs))
    records = {name: _read(run) for name, run in zip(names, runs, strict=True)}
    figure = make_figure(7, 4.5)
    plot_perplexity(figure.subplots(), {literal(name): record for name, record in records.items()})
    save_figure(figure, output)
    for name, record in records.items():
        last = record["log"][-1]
        dev = f"{last['dev']['forward']:.2f} forward, {last['dev']['backward']:.2f} backward"
        print(f"{name}: held-out perplexity {dev} at step {last['step']:,}")
    msg.good(str(output))


def _read(run: Path) -> dict[str, Any]:
    from ..json_text import parse_json
    from ..pretraining.trainer import RUN

    path = run / RUN
    if not path.is_file():
        raise ElmoError(f"There is no {RUN} in {run}: name the folder that --output of pretrain named.")
    try:
        record: dict[str, Any] = parse_json(path.read_bytes())
        rows = record["log"]
        for row in rows:  # fsum takes nothing but numbers
            math.fsum((row["step"], row["dev"]["forward"], row["dev"]["backward"], row.get("loss", 0)))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ElmoError(
            f"{path} is damaged, or not the record of a pretraining: name another folder."
        ) from error
    if not rows:
        raise ElmoError(f"{run} has no measurement yet: draw it after the first one.")
    return record

"""`spacy elmo evaluate`: perplexity of a model on a text."""

import json
from pathlib import Path

import typer
from wasabi import table

from .app import command


@command("evaluate")
def evaluate(
    model: Path = typer.Argument(..., help="A model folder, or zh_elmo_sm"),
    text: Path = typer.Argument(..., help="UTF-8 text that the model did not see"),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write the figures to this JSON file"),
) -> None:
    """Full-softmax perplexity of both directions, per prediction and per character, and unknown rate.

    Every unit and the boundary behind each sentence is predicted.
    """
    from ..bilm.atomic import write_atomic
    from ..bilm.store import load
    from ..pretraining.heldout import measure, read_heldout

    bilm = load(model)
    result = measure(bilm, read_heldout(bilm, text))
    rows = [
        ("perplexity", f"{result.forward:.2f}", f"{result.backward:.2f}"),
        ("per character", f"{result.per_character_forward:.2f}", f"{result.per_character_backward:.2f}"),
    ]
    print(table(rows, header=("", "forward", "backward"), divider=True, aligns=("l", "r", "r")))
    print(f"{result.units:,} units in {result.sentences:,} sentences, {result.unknown:.2%} unknown")
    if output is not None:
        write_atomic(output, (json.dumps(result.to_dict(), indent=2) + "\n").encode("utf8"))

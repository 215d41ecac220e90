"""`spacy elmo evaluate`: measure the perplexity of a model on a text."""

import json
from pathlib import Path

import typer
from wasabi import table

from .app import command


@command("evaluate")
def evaluate(
    model: Path = typer.Argument(
        ..., help="A model folder, or the name of an installed model, such as zh_elmo_sm"
    ),
    text: Path = typer.Argument(..., help="UTF-8 text that the model was not trained on"),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write the figures to this JSON file"),
) -> None:
    """Measure the full-softmax perplexity of both directions, per prediction and per character.

    Each direction predicts every unit and the boundary at the end of each sentence. The command also prints
    the share of unknown units.
    """
    from ..atomic_io import check_apart, write_atomic
    from ..inference.loading import load, resolve_model_path
    from ..pretraining.evaluation import evaluate_perplexity, read_sentences

    if output is not None:
        _check_output(output)
        check_apart([resolve_model_path(model), *([text] if text.is_file() else [])], output)
    bilm = load(model)
    result = evaluate_perplexity(bilm, read_sentences(bilm, text))
    rows = [
        ("perplexity", f"{result.forward:.2f}", f"{result.backward:.2f}"),
        ("per character", f"{result.per_character_forward:.2f}", f"{result.per_character_backward:.2f}"),
    ]
    print(table(rows, header=("", "forward", "backward"), divider=True, aligns=("l", "r", "r")))
    print(f"{result.units:,} units in {result.sentences:,} sentences, {result.unknown:.2%} unknown")
    if output is not None:
        write_atomic(output, (json.dumps(result.to_dict(), indent=2) + "\n").encode("utf8"))


def _check_output(output: Path) -> None:
    """Raise an OutputError if the file exists and is not an earlier result of this command."""
    from ..atomic_io import OutputError, check_parents, errors_of
    from ..json_text import parse_json
    from ..pretraining.evaluation import Perplexity

    with errors_of("the figures", output):
        check_parents(output, "the figures")
        if not output.exists():
            return
        if output.is_dir():
            raise OutputError(f"Cannot write {output}: it is a folder; name a file.")
        data = output.read_bytes()
    try:
        Perplexity(**parse_json(data))
    except (ValueError, TypeError) as error:
        raise OutputError(
            f"Cannot write the figures to {output}: it is another file; name a new one."
        ) from error

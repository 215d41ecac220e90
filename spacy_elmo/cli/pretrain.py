"""`spacy elmo pretrain`: a corpus -> a model folder."""

from pathlib import Path

import typer
from wasabi import msg, table

from .app import command, on_terminal


@command("pretrain", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def pretrain(
    ctx: typer.Context,
    config: Path = typer.Argument(..., help="A pretrain.cfg"),
    output: Path = typer.Option(..., "--output", "-o", help="Folder for the model and the run's records"),
) -> None:
    """Train a biLM. Settings are overridden by their dotted names: --training.max_steps 100

    The model folder is OUTPUT/model; OUTPUT/run.json records the settings and every measurement. The same
    command continues a run that was interrupted.
    """
    from spacy.cli._util import parse_config_overrides

    from ..pretraining.settings import read_settings
    from ..pretraining.trainer import MODEL
    from ..pretraining.trainer import pretrain as train

    settings = read_settings(config, parse_config_overrides(ctx.args))
    record = train(settings, output, progress=on_terminal())
    rows = [
        (row["step"], f"{row['heldout']['forward']:.2f}", f"{row['heldout']['backward']:.2f}")
        for row in (record["log"][0], record["log"][-1])
    ]
    header = ("step", "perplexity forward", "backward")
    print(table(rows, header=header, divider=True, aligns=("r", "r", "r")))
    size = f"{record['parameters']:,} parameters, {record['tokens_seen']:,} units seen"
    msg.good(f"{output / MODEL}: {size} in {record['seconds'] / 60:.1f} minutes")

"""`spacy elmo pretrain`: train a biLM on a corpus and write a model folder."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import typer
from wasabi import msg, table

from .app import command, is_interactive, is_main_process, parse_overrides

# torch's words about LSTMs with projections: true, and nothing that a user could do about it.
NO_ADVICE = (
    "LSTM with projections is not supported with oneDNN",
    "RNN module weights are not part of single contiguous chunk",
)


@command("pretrain", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def pretrain(
    ctx: typer.Context,
    config: Path = typer.Argument(..., help="A pretrain.cfg"),
    output: Path = typer.Option(
        ..., "--output", "-o", help="Folder for the model and the records of the run"
    ),
    init_from: Path | None = typer.Option(
        None, help="Model folder, checkpoint or name of an installed model to start from"
    ),
    gpus: int = typer.Option(1, min=-1, help="Number of processes to start with torchrun; -1: one per GPU"),
) -> None:
    """Train a biLM. Override settings by their dotted names: --training.max_steps 100.

    The model folder is OUTPUT/model; OUTPUT/run.json records the settings and every measurement. The same
    command continues an interrupted run, and extends one with a larger --training.max_steps. For several
    machines: torchrun --nnodes 2 ... -m spacy_elmo pretrain ...
    """
    from ..pretraining.config import read_config
    from ..pretraining.trainer import MODEL
    from ..pretraining.trainer import pretrain as train

    for message in NO_ADVICE:
        warnings.filterwarnings("ignore", message=message)
    overrides = parse_overrides(ctx.args)
    if init_from is not None:
        overrides["paths.init_from"] = str(init_from)
    settings = read_config(config, overrides)
    if gpus != 1 and "RANK" not in os.environ:
        _start_torchrun(gpus, ctx, [config, "--output", output], init_from)
    record = train(settings, output, progress=is_interactive())
    if not is_main_process():
        return
    rows = [
        (row["step"], f"{row['dev']['forward']:.2f}", f"{row['dev']['backward']:.2f}")
        for row in (record["log"][0], record["log"][-1])
    ]
    header = ("step", "perplexity forward", "backward")
    print(table(rows, header=header, divider=True, aligns=("r", "r", "r")))
    size = f"{record['parameters']:,} parameters, {record['tokens_seen']:,} units seen"
    msg.good(f"{output / MODEL}: {size} in {record['seconds'] / 60:.1f} minutes")


def _start_torchrun(gpus: int, ctx: typer.Context, args: list[Any], init_from: Path | None) -> None:
    """Replace this process by torchrun, which starts this command in each process.

    Return if one is enough.
    """
    import torch

    size = max(1, torch.cuda.device_count()) if gpus < 1 else gpus
    if size == 1:
        return
    runner = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", size]
    rest = [] if init_from is None else ["--init-from", init_from]
    command = [sys.executable, *runner, "-m", "spacy_elmo", "pretrain", *args, *rest, *ctx.args]
    os.execv(sys.executable, [str(arg) for arg in command])

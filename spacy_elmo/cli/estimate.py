"""`spacy elmo estimate`: estimate the cost of a pretraining run before it starts."""

from pathlib import Path

import typer
from wasabi import msg, table

from .app import command, parse_overrides


@command("estimate", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def estimate(
    ctx: typer.Context,
    config: Path = typer.Argument(..., help="A pretrain.cfg"),
    corpus_size: str | None = typer.Option(
        None, help="Size of the text, such as 3GB; default: the size of [paths] train"
    ),
    gpus: int = typer.Option(1, min=1, help="Number of GPUs or processes that train together"),
    memory: str = typer.Option("22GB", help='Memory of one GPU, for batch_tokens = "auto"'),
    units: str = typer.Option(
        "char", help='Kind of units, "char" or "word"; an existing corpus overrides this option'
    ),
    vocab_size: int | None = typer.Option(
        None, min=1, help="Size of the vocabulary, if neither corpus nor configuration has it"
    ),
    tokens_per_second: float | None = typer.Option(
        None, min=0.001, help="Units per second of one process; default: measured on this machine"
    ),
) -> None:
    """Estimate a run: parameters, memory per process by part, units, operations, time.

    Override settings by their dotted names, as for `pretrain`.
    """
    from ..errors import ConfigError
    from ..pretraining.config import read_config
    from ..pretraining.estimate import estimate_run, parse_size

    if units not in ("char", "word"):
        raise ConfigError(f'--units {units} is not known: use "char" or "word".')
    found = estimate_run(
        read_config(config, parse_overrides(ctx.args)),
        corpus_bytes=None if corpus_size is None else parse_size(corpus_size),
        gpus=gpus,
        memory=parse_size(memory),
        units=units,
        vocab_size=vocab_size,
        tokens_per_second=tokens_per_second,
    )
    rows = [("parameters", part, f"{n / 1e6:,.1f} M") for part, n in found.parameters.items()]
    rows += [("", "all", f"{sum(found.parameters.values()) / 1e6:,.1f} M")]
    rows += [("memory per process", part, f"{n / 1e9:,.2f} GB") for part, n in found.memory.items()]
    rows += [("", "all", f"{sum(found.memory.values()) / 1e9:,.2f} GB")]
    rows += [
        ("operations per unit", part, f"{n / 1e6:,.0f} MFLOP") for part, n in found.flops_per_token.items()
    ]
    rows += [
        ("run", "units per batch", f"{found.batch_tokens:,}"),
        ("", "units", f"{found.tokens / 1e6:,.0f} M"),
        ("", "epochs", f"{found.epochs:.1f}"),
        ("", "operations", f"{found.flops:.2g} FLOP"),
        ("speed", "per process", f"{found.tokens_per_second:,.0f} units/s"),
    ]
    shown, seen = [], ""
    for head, part, value in rows:
        shown.append(("" if head == seen else head, part, value))
        seen = head or seen
    print(table(shown, aligns=("l", "l", "r")))
    source = "measured on this machine" if tokens_per_second is None else "as given"
    on = "one GPU or process" if found.gpus == 1 else f"{found.gpus} GPUs or processes"
    msg.good(f"{show_time(found.days)} on {on}; speed of one: {source}")


def show_time(days: float) -> str:
    """Return a time in minutes, from 2 hours on in hours, from 2 days on in days."""
    if days >= 2:
        return f"{days:,.1f} days"
    return f"{24 * days:.1f} hours" if 24 * days >= 2 else f"{24 * 60 * days:.1f} minutes"

"""Copy a pretrained biLM into the package, for `nlp.add_pipe("elmo")`, with its origin."""

from dataclasses import replace
from pathlib import Path

import torch
import typer
from io_utils import fail

from spacy_elmo.errors import ElmoError
from spacy_elmo.inference.loading import load

ORIGIN = {
    "name": "zh_elmo_sm",
    "description": "Small Chinese ELMo of characters",
    "licence": "MIT",
    "sources": "138 million characters of Chinese text, and the raw text of the training part of the "
    "People's Daily of January 1998; all of them are named in README.md",
}


def main(
    model: Path = typer.Argument(..., help="Model folder of a pretraining."),
    target: Path = typer.Argument(..., help="Folder of the bundled model; its model card is kept."),
) -> None:
    """Copy a model folder to `target` in half precision, with name, licence and sources."""
    card = target / "README.md"
    try:
        text = card.read_bytes() if card.is_file() else None
        bilm = load(model)
        bilm.config = replace(bilm.config, meta={**ORIGIN, **bilm.config.meta})
        bilm.save(target, dtype=torch.float16)
        if text is not None:
            card.write_bytes(text)
    except (ElmoError, OSError) as error:
        fail(str(error))
    size = sum(path.stat().st_size for path in target.iterdir()) / 2**20
    typer.echo(f"{target}: {ORIGIN['name']}, {size:.1f} MiB")


if __name__ == "__main__":
    typer.run(main)

"""`spacy elmo download`: download models of other systems by name."""

from pathlib import Path

import typer
from wasabi import msg, table

from .app import command


@command("download")
def download(
    name: str | None = typer.Argument(None, help="Name of a model; without it, list the names"),
    output: Path | None = typer.Argument(None, help="Folder to write; default: the name of the model"),
) -> None:
    """Download a published model unchanged, and print how to convert it.

    No other command uses the network.
    """
    from ..formats.download import fetch, find, known_models

    if name is None:
        rows = [(m.name, m.lang, m.kind, m.licence) for m in known_models().values()]
        print(table(rows, header=("name", "lang", "kind", "licence"), divider=True))
        return
    model, folder = find(name), output or Path(name)
    if model.risk:
        msg.warn(model.risk)
    fetch(model, folder)
    msg.good(f"{folder}: {', '.join(model.files)} ({model.page}; licence: {model.licence})")
    sources = " ".join(str(folder / file) for file in model.files)
    print(f"spacy elmo convert {sources} OUTPUT --from {model.kind} --lang {model.lang}")

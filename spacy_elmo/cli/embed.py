"""`spacy elmo embed`: write the vectors of a text to disk."""

from functools import partial
from pathlib import Path

import typer
from wasabi import msg

from .app import command


@command("embed")
def embed(
    model: Path = typer.Argument(
        ..., help="A model folder, or the name of an installed model, such as zh_elmo_sm"
    ),
    text: Path = typer.Argument(
        ...,
        help="UTF-8 text, one sentence per line, words separated by white space; also .jsonl, .gz, .xz, .zst",
    ),
    output: Path = typer.Argument(..., help="HDF5 file to write"),
    layers: str = typer.Option("all", help='"all", "average", "top", or the number of a layer'),
    dtype: str = typer.Option("float32", help='"float32" or "float16"'),
    sentences: bool = typer.Option(True, help="Also write the sentences"),
) -> None:
    """Write the vectors of every sentence in the layout of AllenNLP's command `elmo`.

    Dataset "7" holds the vectors of the eighth line: (layers, words, width), or (words, width) for one layer.
    The same command continues an interrupted run.
    """
    import torch

    from ..formats.hdf5_vectors import ExportSettings, check_output, export_vectors
    from ..inference.loading import load, resolve_model_path
    from ..pretraining.data.text_files import read_lines

    folder = resolve_model_path(model)
    check_output(output, [folder, text])  # before the work, not after it
    bilm = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    wanted = ExportSettings(layers, dtype)  # type: ignore[arg-type]
    read = partial(read_lines, whole=True)
    n = export_vectors(bilm, folder, text, output, wanted, read=read, keep_sentences=sentences)
    msg.good(f"{output}: vectors of {n:,} sentences")

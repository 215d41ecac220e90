"""`spacy elmo export`: write a model as an ONNX file."""

from pathlib import Path

import typer
from wasabi import msg

from .app import command


@command("export")
def export(
    model: Path = typer.Argument(
        ..., help="A model folder, or the name of an installed model, such as zh_elmo_sm"
    ),
    output: Path = typer.Argument(..., help="ONNX file to write, NAME.onnx"),
) -> None:
    """Write a model for onnxruntime, which needs neither Python nor torch.

    The file reads ids of units (and of characters, if the model has a char-CNN) and returns all layers in
    float32. For other formats see `spacy elmo convert`.
    """
    from ..errors import OutputError
    from ..formats import save_onnx
    from ..inference.loading import load

    if output.suffix != ".onnx":
        raise OutputError(f"{output} does not end in .onnx: name the file to write NAME.onnx.")
    save_onnx(load(model), output)
    msg.good(f"{output}: {output.stat().st_size / 1e6:.1f} MB, layers in float32")

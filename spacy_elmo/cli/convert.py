"""`spacy elmo convert`: convert models of other systems to a model folder, and back to bilm-tf."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from wasabi import msg

from .app import command

if TYPE_CHECKING:
    from ..inference.bilm import BiLM

OURS, BILM_TF = "spacy-elmo", "bilm-tf"
FORMATS = {
    BILM_TF: "OPTIONS WEIGHTS [VOCABULARY [VECTORS]]",
    "allennlp": "OPTIONS WEIGHTS",
    "elmoformanylangs": "FOLDER or ZIP",
    "simple-elmo": "FOLDER, ZIP or HDF5",
    OURS: "FOLDER",
}
SOURCES = "; ".join(f"{name}: {sources}" for name, sources in FORMATS.items())


@command("convert")
def convert(
    sources: list[Path] = typer.Argument(
        ..., metavar="SOURCE...", help=f"Files or folder to read. {SOURCES}"
    ),
    output: Path = typer.Argument(..., help="Folder to write"),
    source_format: str = typer.Option(OURS, "--from", help=f"Format to read: {', '.join(FORMATS)}"),
    target_format: str = typer.Option(
        OURS, "--to", help=f'Format to write: "{OURS}", or "{BILM_TF}" for other programs'
    ),
    lang: str | None = typer.Option(None, help="Language of the model, an ISO code as in spaCy"),
    segmenter: str | None = typer.Option(
        None, help='Segmenter of the text that it was trained on: "jieba", "pkuseg", or a tokenizer class'
    ),
) -> None:
    """Convert a model of another system exactly to a folder that the component "elmo" reads, or back.

    spacy elmo convert options.json weights.hdf5 en_elmo --from bilm-tf --lang en
    """
    from ..atomic_io import check_apart, check_replaceable
    from ..formats import FormatError, save_bilm_tf
    from ..formats.bilm_tf import EXPORT
    from ..modeling.serialization import MODEL

    if source_format not in FORMATS:
        raise FormatError(f"--from {source_format} is not known: use {', '.join(FORMATS)}.")
    if target_format not in (OURS, BILM_TF):
        raise FormatError(f'--to {target_format} is not known: use "{OURS}" or "{BILM_TF}".')
    read = _reader(source_format, len(sources), lang, segmenter)
    check_replaceable(output, MODEL if target_format == OURS else EXPORT)  # before the work, not after it
    check_apart(sources, output)
    bilm = read(*sources)
    if target_format == OURS:
        bilm.save(output)
    else:
        save_bilm_tf(bilm, output)
    size = f"{sum(p.numel() for p in bilm.parameters()):,} parameters"
    msg.good(f"{output}: {bilm.n_layers} layers of width {bilm.width}, {size}")


def _reader(source_format: str, n: int, lang: str | None, segmenter: str | None) -> Callable[..., "BiLM"]:
    """Return the function that reads `n` sources of a format."""
    from ..formats import FormatError, load_bilm_tf, load_elmoformanylangs, load_simple_elmo
    from ..inference.loading import load

    allowed = {BILM_TF: (2, 3, 4), "allennlp": (2,)}.get(source_format, (1,))
    if n not in allowed:
        given = "1 source was" if n == 1 else f"{n} sources were"
        raise FormatError(
            f"--from {source_format} takes {FORMATS[source_format]}, "
            f"but {given} given before the output folder."
        )
    origin = {"lang": lang, "segmenter": segmenter}
    if source_format == OURS:
        if lang or segmenter:
            raise FormatError(
                "A spacy-elmo folder records its language and segmenter: omit --lang and --segmenter."
            )
        return load
    if source_format == "elmoformanylangs":
        return lambda path: load_elmoformanylangs(path, **origin)
    if source_format == "simple-elmo":
        return lambda path: load_simple_elmo(path, **origin)
    return lambda options, weights, vocab=None, embedding=None: load_bilm_tf(
        options, weights, vocab=vocab, embedding=embedding, **origin
    )

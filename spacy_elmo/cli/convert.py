"""`spacy elmo convert`: models of other systems -> a model folder, and back to bilm-tf."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from wasabi import msg

from .app import command

if TYPE_CHECKING:
    from ..inference.bilm import BiLM

OURS, BILM_TF = "spacy-elmo", "bilm-tf"
KINDS = {
    BILM_TF: "OPTIONS WEIGHTS [VOCABULARY [VECTORS]]",
    "allennlp": "OPTIONS WEIGHTS",
    "elmoformanylangs": "FOLDER or ZIP",
    "simple-elmo": "FOLDER, ZIP or HDF5",
    OURS: "FOLDER",
}
SOURCES = "; ".join(f"{kind} {sources}" for kind, sources in KINDS.items()) + "; then the folder to write"


@command("convert")
def convert(
    parts: list[str] = typer.Argument(
        ...,
        metavar="KIND SOURCE... OUTPUT",
        help=SOURCES,
    ),
    to: str = typer.Option(OURS, help=f'Format to write: "{OURS}", or "{BILM_TF}" for other programs'),
    lang: str | None = typer.Option(None, help="Language of the model, an ISO code as spaCy's"),
    segmenter: str | None = typer.Option(
        None, help='What cut its words: "jieba", "pkuseg", a tokenizer class'
    ),
) -> None:
    """Read a model of another system exactly, and write a folder that the component "elmo" reads.

    KIND may be left out for a model folder of ours: spacy elmo convert MODEL OUTPUT --to bilm-tf
    """
    from ..atomic_io import check_apart, check_replaceable
    from ..formats import FormatError, save_bilm_tf
    from ..formats.bilm_tf import EXPORT
    from ..modeling.serialization import MODEL

    if to not in (OURS, BILM_TF):
        raise FormatError(f'--to {to} is not known: use "{OURS}" or "{BILM_TF}".')
    kind = parts.pop(0) if parts[0] in KINDS else OURS
    if kind == OURS and len(parts) > 1 and not Path(parts[0]).exists():
        raise FormatError(f"{parts[0]} is neither a kind of model ({', '.join(KINDS)}) nor a model folder.")
    if not parts:
        raise FormatError(f"{kind} needs {KINDS[kind]}, then the folder to write; nothing was given.")
    *sources, output = parts
    read = _reader(kind, len(sources), lang, segmenter)
    check_replaceable(output, MODEL if to == OURS else EXPORT)  # before the work, not after it
    check_apart(sources, output)
    bilm = read(*sources)
    if to == OURS:
        bilm.save(output)
    else:
        save_bilm_tf(bilm, output)
    size = f"{sum(p.numel() for p in bilm.parameters()):,} parameters"
    msg.good(f"{output}: {bilm.n_layers} layers of width {bilm.width}, {size}")


def _reader(kind: str, n: int, lang: str | None, segmenter: str | None) -> Callable[..., "BiLM"]:
    """What reads `n` sources of this kind."""
    from ..formats import FormatError, load_bilm_tf, load_elmoformanylangs, load_simple_elmo
    from ..inference.loading import load

    allowed = {BILM_TF: (2, 3, 4), "allennlp": (2,)}.get(kind, (1,))
    if n not in allowed:
        raise FormatError(f"{kind} needs {KINDS[kind]}, then the folder to write; {n} were given before it.")
    made = {"lang": lang, "segmenter": segmenter}
    if kind == OURS:
        if lang or segmenter:
            raise FormatError(
                "A model folder of ours knows its language and segmenter: leave the options out."
            )
        return load
    if kind == "elmoformanylangs":
        return lambda path: load_elmoformanylangs(path, **made)
    if kind == "simple-elmo":
        return lambda path: load_simple_elmo(path, **made)
    return lambda options, weights, vocab=None, embedding=None: load_bilm_tf(
        options, weights, vocab=vocab, embedding=embedding, **made
    )

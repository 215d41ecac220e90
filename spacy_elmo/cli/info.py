"""`spacy elmo info`: what a model folder holds."""

from pathlib import Path

import typer
from wasabi import table

from .app import command


@command("info")
def info(
    model: Path | None = typer.Argument(None, help="A model folder; the embedded model when left out"),
) -> None:
    """Describe a model: units, sizes, vocabulary, origin. The weights are read and checked."""
    from ..about import __version__
    from ..bilm.store import load, place_of

    folder = place_of(model)
    bilm = load(folder)
    config = bilm.config
    rows = {
        "model": folder,
        "units": f"{config.units} ({config.lang}, segmenter {config.segmenter})",
        "vocabulary": "bytes of UTF-8" if config.spelling == "byte" else f"{len(bilm.vocab.units):,} units",
        **({"n-grams": f"{config.ngrams:,} of 2 to {config.longest_ngram} units"} if config.ngrams else {}),
        **(
            {"static vectors": f"{config.static_rows:,} of width {config.static_width}"}
            if config.static_rows
            else {}
        ),
        "layers": f"{bilm.n_layers} of width {bilm.width}",
        "LSTM": f"{config.n_layers} x {config.hidden}, projection {config.projection}, each direction",
        "parameters": f"{sum(p.numel() for p in bilm.parameters()):,}",
        "runs on": _route(),
        "on disk": f"{sum(p.stat().st_size for p in folder.iterdir()) / 2**20:.1f} MiB",
        **config.meta,
        "spacy-elmo": __version__,
    }
    print(table([(key, str(value)) for key, value in rows.items()]))


def _route() -> str:
    """How vectors are computed on this processor, see bilm.inference."""
    import torch

    from ..bilm.inference.routes import TORCH, routes
    from ..bilm.precision import NAMES, product_dtype

    best = routes()[0]
    hint = "; the native kernel is not there: it wants a C++ compiler at installation" * (best == TORCH)
    dtype = NAMES[product_dtype("auto", torch.device("cpu"))]
    return f"{best}, {dtype} where precision is auto{hint}"

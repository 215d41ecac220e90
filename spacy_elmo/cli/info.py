"""`spacy elmo info`: what a model folder holds."""

from pathlib import Path

import typer
from wasabi import table

from .app import command


@command("info")
def info(
    model: Path | None = typer.Argument(None, help="A model folder; the bundled model when left out"),
) -> None:
    """Describe a model: units, sizes, vocabulary, origin. The weights are read and checked."""
    from ..about import __version__
    from ..inference.loading import load, resolve_model_path

    folder = resolve_model_path(model)
    bilm = load(folder)
    config = bilm.config
    rows = {
        "model": folder,
        "units": f"{config.units} ({config.lang}, segmenter {config.segmenter})",
        "vocabulary": "bytes of UTF-8" if config.char_input == "utf8" else f"{len(bilm.vocab.units):,} units",
        **(
            {"n-grams": f"{config.n_ngrams:,} of 2 to {config.max_ngram_length} units"}
            if config.n_ngrams
            else {}
        ),
        **(
            {"static vectors": f"{config.n_static_vectors:,} of width {config.static_dim}"}
            if config.n_static_vectors
            else {}
        ),
        "layers": f"{bilm.n_layers} of width {bilm.width}",
        "LSTM": f"{config.n_layers} x {config.hidden_size}, projection {config.projection_dim}, "
        "each direction",
        "parameters": f"{sum(p.numel() for p in bilm.parameters()):,}",
        "runs on": _backend(),
        "on disk": f"{sum(p.stat().st_size for p in folder.iterdir()) / 2**20:.1f} MiB",
        **config.meta,
        "spacy-elmo": __version__,
    }
    print(table([(key, str(value)) for key, value in rows.items()]))


def _backend() -> str:
    """How vectors are computed on this processor, see inference.backends."""
    import torch

    from ..inference.backends import TORCH, available_backends
    from ..kernels.precision import DTYPE_NAMES, resolve_compute_dtype

    best = available_backends()[0]
    hint = "; the native kernel is not there: it wants a C++ compiler at installation" * (best == TORCH)
    dtype = DTYPE_NAMES[resolve_compute_dtype("auto", torch.device("cpu"))]
    return f"{best}, {dtype} where precision is auto{hint}"

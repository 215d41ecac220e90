"""`spacy elmo info`: describe a model folder, and the backend that runs it on this machine."""

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from wasabi import msg, table

from ..progress import progress_bar
from .app import command

if TYPE_CHECKING:
    from ..inference.benchmark import Speed
    from ..inference.bilm import BiLM

SECONDS = 10.0  # of the benchmark


@command("info")
def info(
    model: Path | None = typer.Argument(None, help="A model folder; default: the bundled model"),
    benchmark: bool = typer.Option(
        False, "--benchmark", help="Measure the speed of each backend on this machine, for ten seconds"
    ),
) -> None:
    """Describe a model (units, sizes, vocabulary, origin) and the backend that runs it, with the reason.

    The command reads the weights and checks them.
    """
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
        **_backend(bilm),
        "on disk": f"{sum(p.stat().st_size for p in folder.iterdir()) / 2**20:.1f} MiB",
        **{key: _plain(value) for key, value in config.meta.items()},
        "spacy-elmo": __version__,
    }
    print(table([(_printable(key), _printable(str(value))) for key, value in rows.items()]))
    if benchmark:
        _benchmark(bilm)


def _printable(text: str) -> str:
    """Return text with a space for each control character: a description could control the terminal."""
    return "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)


def _plain(value: object) -> str:
    """Return "forward 49.68, backward 49.21" for a value of a model's description."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _backend(bilm: "BiLM") -> dict[str, str]:
    """Return how vectors are computed on this machine, and why; see inference.backends."""
    import torch

    from ..inference.backends import available_backends, explain_choice
    from ..inference.encode import compute_dtype_of
    from ..kernels.precision import DTYPE_NAMES

    dtype = DTYPE_NAMES[compute_dtype_of(bilm, "auto")]
    rows = {
        "runs on": f"{available_backends()[0]}, {dtype} where precision is auto",
        "because": explain_choice(),
    }
    if bilm.config.stacked_bidirectional:
        rows["runs on"] = f"torch, {dtype} where precision is auto"
        rows["because"] = "Its LSTM layers read both directions, which the network in torch computes."
    if torch.cuda.is_available():
        rows["on the GPU"] = f"{torch.cuda.get_device_name()}, after spacy.require_gpu()"
    return rows


def _benchmark(bilm: "BiLM") -> None:
    """Measure every backend, and onnxruntime if it is installed, and print a table."""
    import torch

    from ..formats import FormatError
    from ..formats.onnx_runtime import make_onnx_encoder
    from ..inference import benchmark
    from ..inference.encode import compute_dtype_of
    from ..kernels.precision import DTYPE_NAMES

    runs = benchmark.backend_runs(bilm)
    missing = None
    try:
        runs["onnxruntime", "f32"] = make_onnx_encoder(bilm)
    except (FormatError, ImportError):
        missing = "onnxruntime is not measured: pip install onnxruntime 'spacy-elmo[onnx]'"
    sentences = benchmark.sample_sentences(bilm)
    with progress_bar("benchmark", SECONDS, "s") as advance:
        speeds = benchmark.measure(runs, sentences, SECONDS, advance)
    used = next(iter(runs))[0], DTYPE_NAMES[compute_dtype_of(bilm, "auto")]
    print(_speed_table(speeds, used, "characters" if bilm.config.units == "char" else "words"))
    threads = torch.get_num_threads()
    units = sum(map(len, sentences))
    print(
        f"Batches of {len(sentences)} sentences, {units:,} in all; one sentence of {benchmark.MEAN_LENGTH}; "
        f"{threads} thread{'s' * (threads > 1)}; medians of {SECONDS:.0f} seconds in turns."
    )
    if missing:
        msg.info(missing)


def _speed_table(speeds: "dict[tuple[str, str], Speed]", used: tuple[str, str], units: str) -> str:
    slowest = speeds.get(("torch", "f32"))
    rows = []
    for (backend, precision), speed in speeds.items():
        ratio = f"{speed.units_per_second / slowest.units_per_second:.1f}x" if slowest else ""
        rows.append(
            (
                backend,
                precision,
                f"{speed.units_per_second:,.0f}",
                ratio,
                f"{1000 * speed.seconds_per_sentence:.2f}",
                "precision auto" if (backend, precision) == used else "",
            )
        )
    header = ("backend", "precision", f"{units}/s", "by torch f32", "ms per sentence", "")
    return table(rows, header=header, divider=True, aligns=("l", "l", "r", "r", "r", "l"))

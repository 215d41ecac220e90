"""Measure the units per second of BiLM.encode on every backend, in turns with a baseline, in one run.

    python benchmarks/bench_inference.py [--hidden 1024 2048] [--sentences 512] [--rounds 5] [--cpu-time]

The baseline is ELMoForManyLangs as shipped. If it is not installed (pip install --no-deps
elmoformanylangs==0.0.4.post2 overrides==3.1.0; h5py), the table has no ratios. The random weights are the
same for both. Sentences have lognormal lengths with mean 25 and maximum 105 units.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from _baselines import BASELINE, baseline_of, ratio, spelling_model, table_model
from _timing import medians, show

from spacy_elmo.inference.backends import TORCH, available_backends
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.inference.encode import encode
from spacy_elmo.inference.prepared_model import get_prepared
from spacy_elmo.kernels.packed_linear import onednn_linear, packed_linear
from spacy_elmo.kernels.precision import has_native_bf16, resolve_compute_dtype

Sentences = list[list[str]]
CPU = torch.device("cpu")
IN_A_ROW = 10  # repetitions of a single sentence
CHARACTERS = [chr(0x4E00 + i) for i in range(4000)]


def some_sentences(n: int, words: Sequence[str], seed: int = 0) -> Sentences:
    """Return sentences of words by Zipf's law."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(25) - 0.18, 0.6, n).round(), 1, 105).astype(int)
    chances = 1 / np.arange(10, len(words) + 10)
    return [list(rng.choice(words, k, p=chances / chances.sum())) for k in lengths]


def in_batches(run: Callable[[Sentences], object], sentences: Sentences, size: int) -> None:
    """Yield batches as the baseline forms them: sentences sorted by length, `size` per batch."""
    order = sorted(sentences, key=len, reverse=True)
    for i in range(0, len(order), size):
        run(order[i : i + size])


def ours(bilm: BiLM, backend: str, precision: str) -> Callable[[Sentences], object]:
    """Return a function that encodes with a backend and a precision."""
    return lambda sentences: encode(bilm, sentences, batch_tokens=10**6, precision=precision, backend=backend)


def ways(bilm: BiLM) -> dict[str, Callable[[Sentences], object]]:
    """Return functions for the baseline, torch and the best native backend, in all their precisions."""
    found: dict[str, Callable[[Sentences], object]] = {}
    baseline = baseline_of(bilm)
    if baseline is not None:
        found[BASELINE] = baseline
    for backend in dict.fromkeys((TORCH, available_backends()[0])):
        for precision in ("f32", "bf16", "int16")[: 2 if backend == TORCH else 3]:
            found[f"{backend}, {precision}"] = ours(bilm, backend, precision)
    return found


def tables(hidden: int, args: argparse.Namespace, clock: Callable[[], float]) -> None:
    """Print the tables of one hidden size."""
    sentences = some_sentences(args.sentences, CHARACTERS)
    one = [list(CHARACTERS[:30])]
    units = sum(map(len, sentences))
    bilm = table_model(CHARACTERS, hidden)
    runs = ways(bilm)
    if BASELINE in runs:
        difference = np.abs(runs[BASELINE](one)[0] - encode(bilm, one)[0]).max()
        print(f"largest difference to the baseline in f32: {difference:.1e}")
    batch = medians(
        {k: lambda r=r: in_batches(r, sentences, 64) for k, r in runs.items()}, args.rounds, clock
    )
    single = medians(
        {k: lambda r=r: [r(one) for _ in range(IN_A_ROW)] for k, r in runs.items()}, args.rounds, clock
    )
    rows = {
        name: [
            f"{units / batch[name]:,.0f}{ratio(name, batch)}",
            f"{1000 * single[name] / IN_A_ROW:.2f}{ratio(name, single)}",
        ]
        for name in runs
    }
    show("", [f"hidden {hidden}, batch 64: units/s", "one sentence of 30: ms"], rows)


def peak(args: argparse.Namespace, clock: Callable[[], float]) -> None:
    """Compare the kernel with the fastest product of two matrices in torch on this machine."""
    n, hidden = 1024, 2048
    weight, x = torch.randn(n, n).bfloat16(), torch.randn(n, n).bfloat16()
    product = onednn_linear(weight, None) or packed_linear(weight)
    bilm = table_model(CHARACTERS, hidden)
    sentences = some_sentences(256, CHARACTERS)
    run = ours(bilm, available_backends()[0], "bf16")

    def products() -> None:
        """Compute products for the comparison."""
        with torch.inference_mode():
            for _ in range(100):
                product(x)

    runs = {"peak": products, "ours": lambda: in_batches(run, sentences, 256)}
    times = medians(runs, 5 * args.rounds, clock)
    most = 100 * 2 * n**3 / times["peak"]
    p = hidden // 8
    per_unit = 2 * 2 * 2 * (4 * hidden * 2 * p + hidden * p)
    rate = per_unit * sum(map(len, sentences)) / times["ours"]  # boundaries take almost no time
    print(f"{available_backends()[0]}, bf16, hidden {hidden}, batch 256: {rate / 1e9:.0f} GFLOP/s,", end=" ")
    print(f"{100 * rate / most:.0f} % of the {most / 1e9:.0f} of a product of {n} x {n} matrices")


def spelled(args: argparse.Namespace, clock: Callable[[], float], hidden: int = 2048) -> None:
    """Measure words to layers with a char-CNN.

    The weights differ from the baseline's; the sizes are the same.
    """
    rng = np.random.default_rng(1)
    words = [
        "".join(rng.choice(CHARACTERS[:3000], n))
        for n in rng.choice([1, 2, 3, 4], 20000, p=[0.3, 0.5, 0.15, 0.05])
    ]
    sentences = some_sentences(args.sentences // 2, words)
    units = sum(map(len, sentences))
    bilm = spelling_model(words, hidden)
    runs = ways(bilm)
    timed: dict[str, Callable[[], object]] = {}
    for name, run in runs.items():
        if name == BASELINE:
            timed[name] = lambda run=run: run(sentences)
            continue
        backend, precision = name.rsplit(", ", 1)
        cache = get_prepared(bilm, resolve_compute_dtype(precision, CPU), backend).inputs

        def cold(run=run, cache=cache) -> None:
            cache.clear()
            in_batches(run, sentences, 64)

        timed[f"{name}, cold"] = cold
        timed[f"{name}, warm"] = lambda run=run: in_batches(run, sentences, 64)
    times = medians(timed, args.rounds, clock)
    rows = {name: [f"{units / seconds:,.0f}{ratio(name, times)}"] for name, seconds in times.items()}
    distinct = len({word for sentence in sentences for word in sentence})
    what = f"words to layers, char-CNN, hidden {hidden}, {distinct:,} distinct of {units:,} words"
    show("", [f"{what}: words/s"], rows)


def machine() -> str:
    """Print the processor, the threads and the versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), "a processor"
    )
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    bf16 = "" if has_native_bf16(CPU) else " without bf16"
    return f"{name}{bf16}, {torch.get_num_threads()} threads{load}, torch {torch.__version__}"


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=["tables", "peak", "spelled"])
    parser.add_argument(
        "--cpu-time", action="store_true", help="time of this process only, for a busy machine and one thread"
    )
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    what = "processor time" if args.cpu_time else "wall time"
    print(f"{machine()}; {args.sentences} sentences, median of {args.rounds} rounds, {what}")
    for hidden in args.hidden if "tables" in args.parts else []:
        tables(hidden, args, clock)
    if "peak" in args.parts:
        peak(args, clock)
    if "spelled" in args.parts:
        spelled(args, clock)


if __name__ == "__main__":
    main()

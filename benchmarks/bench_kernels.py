"""Measure single operations of the native kernel on one thread, and their share of the roofline.

    python benchmarks/bench_kernels.py [--targets amx avx2] [--types f32] [--parts products ops] [--cpu-time]

A product multiplies rows by a packed matrix repeatedly. Its roofline is the smaller of two rates that are
measured in the same run. The first is the rate of products whose operands stay in the first-level cache. The
second is the operations per byte of the packed weights, times the bandwidth of reading that many bytes
repeatedly, from the cache or memory that holds them. For other operations, the script prints the time per
number or the rate of products.
"""

import argparse
import time
from collections.abc import Callable, Iterable

import numpy as np
import torch
from _timing import medians, show

from spacy_elmo.kernels import native_training
from spacy_elmo.kernels.binding import supported_targets, target_number
from spacy_elmo.kernels.native_interface import COMPUTE_TYPES
from spacy_elmo.kernels.native_training import NativeLayer, softmax_loss
from spacy_elmo.kernels.single_ops import PackedMatrix, lstm_cell, peak_products, read_memory
from spacy_elmo.kernels.token_ops import PackedMaxout, TokenAlignment, pool_tokens, scalar_mix

Clock = Callable[[], float]
BYTES = {"f32": 4, "bf16": 2, "int16": 2}
OPERATIONS = 2e8  # of one measurement, about
MATRICES = {  # inputs and outputs
    "gates of hidden 512": (256, 2048),
    "projection of hidden 512": (512, 256),
    "gates of hidden 4096": (512, 16384),
}


def normal(*shape: int) -> np.ndarray:
    """Return normally distributed float32 values."""
    return np.random.default_rng(0).normal(size=shape).astype("f4")


def repeated(run: Callable[[], object], times: int) -> Callable[[], object]:
    """Return a function that calls `run` several times."""
    return lambda: [run() for _ in range(times)]


def seconds(run: Callable[[], object], times: int, rounds: int, clock: Clock) -> float:
    """Return the seconds of one of `times` runs, as the median of the rounds."""
    return medians({"": repeated(run, times)}, rounds, clock)[""] / times


def shortest(run: Callable[[], object], rounds: int, clock: Clock) -> float:
    """Return the seconds of the fastest round: for limits, which nothing should exceed."""
    return min(seconds(run, 1, 1, clock) for _ in range(rounds))


def bandwidth(size: int, target: str, rounds: int, clock: Clock) -> float:
    """Return the bytes per second of reading `size` bytes repeatedly."""
    x = np.zeros(size // 4, "f4")
    repeats = max(1, int(4e8 // x.nbytes))
    return repeats * x.nbytes / shortest(lambda: read_memory(x, repeats, target=target), rounds, clock)


def peak(products: str, target: str, rounds: int, clock: Clock) -> float:
    """Return the operations per second of products in the first-level cache."""
    of_one = peak_products(1, products=products, target=target)
    repeats = max(1, int(OPERATIONS // of_one))
    run = lambda: peak_products(repeats, products=products, target=target)  # noqa: E731
    return repeats * of_one / shortest(run, rounds, clock)


def products(
    targets: Iterable[str], types: Iterable[str], rows: list[int], rounds: int, clock: Clock
) -> None:
    """Print a table for each matrix: GFLOP/s and the share of the roofline."""
    kinds = [(target, kind) for target in targets for kind in types]
    peaks = {(target, kind): peak(kind, target, rounds, clock) for target, kind in kinds}
    for name, (n_inputs, n_outputs) in MATRICES.items():
        W, table = normal(n_outputs, n_inputs) / 16, {}
        for target, kind in kinds:
            matrix = PackedMatrix(W, products=kind, target=target)
            size = W.size * BYTES[kind]
            rate = bandwidth(size, target, rounds, clock)
            cells = [f"{peaks[target, kind] / 1e9:.0f}", f"{rate / 1e9:.0f}"]
            for n in rows:
                x, operations = normal(n, n_inputs), 2 * n * W.size
                times = max(1, int(OPERATIONS // operations))
                run = lambda x=x, m=matrix, times=times: m(x, times)  # noqa: E731
                reached = times * operations / seconds(run, 1, rounds, clock)
                most = min(peaks[target, kind], operations / size * rate)
                cells.append(f"{reached / 1e9:.1f} ({100 * reached / most:.0f} %)")
            table[f"{target}, {kind}"] = cells
        heads = ["peak: GFLOP/s", "reading the weights: GB/s", *(f"{n} rows" for n in rows)]
        show(f"{name} ({n_inputs} x {n_outputs})", heads, table)
        print()


def operations_of(target: str, kind: str) -> dict[str, tuple[Callable[[], object], float, str]]:
    """Return other operations of a target and type: a run, its count in one run, and the unit of that."""
    n, width, hidden = 256, 256, 512
    gates, c, layers = normal(n, 4 * hidden), normal(n, hidden), [normal(3, n, 2 * width)]
    weights = np.full(3, 0.3, "f4")
    tokens = np.arange(n // 2)
    alignment = TokenAlignment(layers, n // 2, tokens, 2 * tokens, np.arange(n))
    maxout = PackedMaxout(normal(96, 3, 608) / 25, normal(96, 3), products=kind, target=target)
    x = normal(n, 608)
    numbers = layers[0].size
    return {
        "LSTM cells": (
            lambda: lstm_cell(gates, c, products=kind, target=target),
            n * hidden,
            "cells",
        ),
        "scalar mix with normalization": (
            lambda: scalar_mix(layers, weights, 1e-5, target=target),
            numbers,
            "numbers",
        ),
        "layers of tokens": (
            lambda: pool_tokens([alignment], 3, 2 * width, target=target),
            numbers,
            "numbers",
        ),
        "Maxout 608 -> 96": (lambda: maxout([x]), 2 * n * 3 * 96 * 608, "operations"),
        **(training_of(target, kind) if kind != "int16" else {}),
    }


def training_of(target: str, kind: str) -> dict[str, tuple[Callable[[], object], float, str]]:
    """Return the training operations: a layer and the cross entropy, with the kernel's target set."""
    rows, steps, width, hidden, classes = 64, 10, 256, 512, 4000
    half, number = kind == "bf16", target_number(target)
    shapes = (rows, steps, width), (4 * hidden, width), (4 * hidden, width), (4 * hidden,), (width, hidden)
    tensors = [torch.from_numpy(normal(*shape) / 16).requires_grad_() for shape in shapes]
    sizes = torch.full((steps,), rows)
    x, weight = torch.from_numpy(normal(640, width)), torch.from_numpy(normal(classes, width) / 16)
    bias, targets = torch.zeros(classes), torch.arange(640)

    def with_target(run: Callable[[], object]) -> Callable[[], object]:
        def changed() -> None:
            before = native_training.target_number
            native_training.target_number = lambda target: number
            try:
                run()
            finally:
                native_training.target_number = before

        return changed

    def layer() -> None:
        NativeLayer.apply(*tensors, sizes, half).sum().backward()

    weights = 2 * 4 * hidden * width + hidden * width
    return {
        "LSTM layer in training": (with_target(layer), 3 * 2 * rows * steps * weights, "operations"),
        "cross entropy with gradients": (
            with_target(lambda: softmax_loss(x, weight, bias, targets, use_bf16=half, gradients=True)),
            3 * 2 * len(x) * weight.numel(),
            "operations",
        ),
    }


def ops(targets: Iterable[str], types: Iterable[str], rounds: int, clock: Clock) -> None:
    """Print a table of the other operations."""
    table: dict[str, list[str]] = {}
    heads = []
    for target in targets:
        for kind in types:
            heads.append(f"{target}, {kind}")
            for name, (run, count, what) in operations_of(target, kind).items():
                took = seconds(run, 3, rounds, clock)
                rate = (
                    f"{count / took / 1e9:.1f} GFLOP/s"
                    if what == "operations"
                    else f"{1e9 * took / count:.2f} ns"
                )
                table.setdefault(name, [])
                table[name] += ["-"] * (len(heads) - 1 - len(table[name])) + [rate]
    show("", heads, {name: cells + ["-"] * (len(heads) - len(cells)) for name, cells in table.items()})


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    known = list(supported_targets())
    parser.add_argument("--targets", nargs="+", default=known, choices=known)
    parser.add_argument("--types", nargs="+", default=list(COMPUTE_TYPES), choices=COMPUTE_TYPES)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 64, 512])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=["products", "ops"], choices=["products", "ops"])
    parser.add_argument(
        "--cpu-time", action="store_true", help="time of this process only, for a busy machine"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    clock = time.process_time if args.cpu_time else time.perf_counter
    if "products" in args.parts:
        products(args.targets, args.types, args.rows, args.rounds, clock)
    if "ops" in args.parts:
        ops(args.targets, args.types, args.rounds, clock)


if __name__ == "__main__":
    main()

"""Measure the speed of each backend of this machine in some seconds."""

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import cycle
from typing import NamedTuple

import numpy as np
import torch

from ..kernels.precision import Precision
from .backends import TORCH, available_backends
from .bilm import BiLM
from .encode import encode

PRECISIONS: tuple[Precision, ...] = ("f32", "bf16", "int16")
N_SENTENCES = 64
MEAN_LENGTH = 25  # units
LONGEST = 105

Sentences = list[list[str]]
Run = Callable[[Sentences], object]


class Speed(NamedTuple):
    """Median speeds: of a batch of N_SENTENCES, and of one sentence of MEAN_LENGTH units."""

    units_per_second: float
    seconds_per_sentence: float


def sample_sentences(bilm: BiLM, seed: int = 0) -> Sentences:
    """Return N_SENTENCES of the model's units by Zipf's law, with lognormal lengths of mean MEAN_LENGTH."""
    rng = np.random.default_rng(seed)
    units = bilm.vocab.units or [chr(0x4E00 + i) for i in range(1000)]  # a char-CNN may have no list
    lengths = np.clip(rng.lognormal(np.log(MEAN_LENGTH) - 0.18, 0.6, N_SENTENCES).round(), 1, LONGEST)
    chances = 1 / np.arange(10, len(units) + 10)
    return [[units[i] for i in rng.choice(len(units), int(n), p=chances / chances.sum())] for n in lengths]


def backend_runs(bilm: BiLM) -> dict[tuple[str, str], Run]:
    """Return a function for each backend and precision: the best native one, torch, and a GPU if present.

    bilm: on the CPU. Keys are (backend, precision). Only the native kernel computes int16, and only torch
    computes layers that read both directions.
    """
    backends = (
        [TORCH] if bilm.config.stacked_bidirectional else dict.fromkeys((available_backends()[0], TORCH))
    )
    runs: dict[tuple[str, str], Run] = {}
    for backend in backends:
        for precision in PRECISIONS[: 2 if backend == TORCH else 3]:
            runs[backend, precision] = partial(encode, bilm, backend=backend, precision=precision)
    if torch.cuda.is_available():
        on_gpu = copy.deepcopy(bilm).to("cuda")
        for precision in PRECISIONS[:2]:
            runs["cuda", precision] = partial(encode, on_gpu, precision=precision)
    return runs


def measure(
    runs: Mapping[tuple[str, str], Run],
    sentences: Sentences,
    seconds: float = 10.0,
    advance: Callable[[float], object] = lambda seconds: None,
) -> dict[tuple[str, str], Speed]:
    """Run all functions in turns for `seconds`, at least once, after one run each that does not count.

    advance: called with the seconds that have passed since the last call, `seconds` in all.
    """
    units = [unit for sentence in sentences for unit in sentence]
    one = [(units * MEAN_LENGTH)[:MEAN_LENGTH]]
    batch: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    single: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    passed, start = 0.0, time.perf_counter()
    for run in runs.values():
        _time(run, sentences)
        _time(run, one)
        passed = _report(advance, passed, min(seconds, time.perf_counter() - start))
    for key, run in cycle(runs.items()):
        if time.perf_counter() - start >= seconds and all(batch.values()):
            break
        batch[key].append(_time(run, sentences))
        single[key].append(_time(run, one))
        passed = _report(advance, passed, min(seconds, time.perf_counter() - start))
    return {
        key: Speed(len(units) / statistics.median(batch[key]), statistics.median(single[key])) for key in runs
    }


def _time(run: Run, sentences: Sentences) -> float:
    start = time.perf_counter()
    run(sentences)
    return time.perf_counter() - start


def _report(advance: Callable[[float], object], before: float, now: float) -> float:
    advance(now - before)
    return now

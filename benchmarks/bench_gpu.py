"""Measure training steps and inference on a GPU, compared with torch alone and with the GPU's peak.

    python benchmarks/bench_gpu.py [--parts steps encode] [--batches 8192 65536] [--rounds 3]

steps: forward, backward, clipping and optimizer in bf16 on random units, with the sizes of
configs/pretrain.cfg (6,000 characters) and configs/pretrain_reference.cfg (52,000 words). encode: sentences
to vectors in main memory, with lognormal lengths of mean 25 and maximum 105 units. The baseline is the same
network in torch alone: nn.LSTM (cuDNN), and logits in chunks of 4,096 predictions. The peak is the speed of a
product of 8192 x 8192 matrices in bf16.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

import torch
from _timing import medians, show
from bench_inference import some_sentences
from bench_pretraining import DROPOUT, update

from spacy_elmo.inference import encode
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling import cross_entropy, lstm
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.token_encoder import TokenBatch
from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.pretraining.auto_batch_size import random_batch
from spacy_elmo.pretraining.config import Paths, PretrainConfig, TrainingConfig, VocabConfig
from spacy_elmo.pretraining.estimate import training_flops
from spacy_elmo.pretraining.step.cuda_graphs import with_cuda_graphs
from spacy_elmo.pretraining.step.train_step import TrainStep

GPU = torch.device("cuda")
BASELINE, OURS = "torch alone (cuDNN)", "ours"
SIDE, WARM = 8192, 3
SETTINGS = PretrainConfig(paths=Paths(), vocab=VocabConfig(), training=TrainingConfig(), model={})


@dataclass(frozen=True)
class Size:
    """Sizes of a model; `length`: units of a training sentence, boundaries included."""

    name: str
    hidden: int
    projection: int
    units: int
    length: int


SIZES = (Size("lean, H 512", 512, 128, 6_000, 40), Size("reference, H 4096", 4096, 512, 52_000, 26))


@contextmanager
def torch_alone() -> Iterator[None]:
    """Disable the fused kernels inside a `with` block."""
    with (
        patch.object(lstm, "kernels", lambda x: None),
        patch.object(cross_entropy, "kernels", lambda x: None),
        patch.object(encode, "kernels", lambda x: None),
    ):
        yield


def by(way: str, run: Callable[[], object]) -> Callable[[], None]:
    """Run a function and wait for the GPU."""

    def timed() -> None:
        """Return the median seconds of each function."""
        if way == OURS:
            run()
        else:
            with torch_alone():
                run()
        torch.cuda.synchronize()

    return timed


def make_model(size: Size) -> BiLM:
    """Build a biLM of these sizes on the GPU."""
    torch.manual_seed(0)
    vocab = Vocab([f"{i}" for i in range(size.units)])
    return BiLM(
        BiLMConfig(
            units="word",
            projection_dim=size.projection,
            hidden_size=size.hidden,
            tie_softmax=True,
            max_sentence_length=size.length - 2,
        ),
        vocab,
    ).to(GPU)


def peak() -> float:
    """Return the operations per second of the largest product."""
    a, b = (torch.randn(SIDE, SIDE, device=GPU).bfloat16() for _ in range(2))

    def products() -> None:
        """Compute products for the peak."""
        for _ in range(20):
            a @ b
        torch.cuda.synchronize()

    return 20 * 2 * SIDE**3 / medians({"": products}, 5, time.perf_counter)[""]


def a_step(bilm: BiLM, batch: TokenBatch, way: str) -> Callable[[], object]:
    """Return a function that takes one training step."""
    step = TrainStep(bilm, dropout=DROPOUT, dtype=torch.bfloat16)
    return update(with_cuda_graphs(step) if way == OURS else step, batch)


def steps(args: argparse.Namespace, most: float) -> None:
    """Print the units per second of a training step."""
    for size in SIZES:
        table: dict[str, list[str]] = {BASELINE: [], OURS: [], "of the peak": [], "GB": []}
        for tokens in args.batches:
            bilm = make_model(size)
            batch = random_batch(TrainStep(bilm), tokens)
            runs = {way: by(way, a_step(bilm, batch.to(GPU), way)) for way in (BASELINE, OURS)}
            torch.cuda.reset_peak_memory_stats()
            for _ in range(WARM):
                runs[OURS]()
            gigabytes = torch.cuda.max_memory_reserved() / 1e9
            found = medians(runs, args.rounds, time.perf_counter)
            n = int(batch.lengths.sum())
            for way, seconds in found.items():
                table[way].append(f"{n / seconds:,.0f} ({found[BASELINE] / seconds:.1f}x)")
            flops = n * sum(training_flops(bilm, SETTINGS).values())
            table["of the peak"].append(f"{100 * flops / found[OURS] / most:.0f} %")
            table["GB"].append(f"{gigabytes:.1f}")
            del bilm, runs
            torch.cuda.empty_cache()
        show(f"{size.name}: units/s of a training step", [f"{n:,} units" for n in args.batches], table)


def encoding(args: argparse.Namespace, most: float) -> None:
    """Print the units per second of BiLM.encode."""
    for size in SIZES:
        bilm = make_model(size).eval()
        sentences = some_sentences(args.sentences, bilm.vocab.units)
        units = sum(map(len, sentences))
        runs = {
            f"{way}, {precision}": by(way, partial(bilm.encode, sentences, precision=precision))
            for precision in ("f32", "bf16")
            for way in (BASELINE, OURS)
        }
        found = medians(runs, args.rounds, time.perf_counter)
        flops = units * 2 * 2 * 2 * 9 * size.hidden * size.projection
        table = {
            name: [f"{units / seconds:,.0f}", f"{100 * flops / seconds / most:.1f} %"]
            for name, seconds in found.items()
        }
        show(f"{size.name}: encode {len(sentences):,} sentences", ["units/s", "of the peak"], table)


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parts", nargs="+", default=["steps", "encode"])
    parser.add_argument("--batches", type=int, nargs="+", default=[8192, 65536])
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    most = peak()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, peak {most / 1e12:.0f} TFLOP/s")
    if "steps" in args.parts:
        steps(args, most)
    if "encode" in args.parts:
        encoding(args, most)


if __name__ == "__main__":
    main()

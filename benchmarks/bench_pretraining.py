"""Measure pretraining steps: compared with ELMoForManyLangs, by softmax, and with one and two processes.

    python benchmarks/bench_pretraining.py [--parts bundled steps softmax processes] [--hidden 1024 2048 4096]

bundled: complete steps with the sizes of zh_elmo_sm, in sentences of three lengths, in the native kernel and
in torch alone, and their speed relative to one large product in torch in the same run.

steps: forward, backward, clipping and optimizer on 64 sentences of 40 units, in turns with the baseline
(pip install --no-deps elmoformanylangs==0.0.4.post2 overrides==3.1.0; h5py), with the same sizes, vocabulary
and full softmax. The baseline runs in float32 as shipped, ours in float32 and, if the processor supports it,
in bfloat16 with float32 weights.
"""

import argparse
import operator
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from _baselines import BASELINE, baseline_step, ratio
from _timing import medians, show
from torch import Tensor
from torch.nn import functional as F

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.kernels import native_training
from spacy_elmo.kernels.precision import has_native_bf16
from spacy_elmo.modeling.collate import collate
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.cross_entropy import LOGIT_CHUNK, ChunkedCrossEntropy
from spacy_elmo.modeling.token_encoder import TokenBatch
from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.pretraining.config import Paths, PretrainConfig, TrainingConfig, VocabConfig
from spacy_elmo.pretraining.estimate import measure_speed, training_flops, typical_lengths
from spacy_elmo.pretraining.optim import build_optimizer
from spacy_elmo.pretraining.step.candidate_sampling import CandidateSampler, sampled_softmax_loss
from spacy_elmo.pretraining.step.cuda_graphs import CUDAGraphTrainStep
from spacy_elmo.pretraining.step.train_step import TrainStep

Step = Callable[[], object]
ROWS, LENGTH, DROPOUT, CLIP = 64, 40, 0.1, 1.0
PRECISIONS: dict[str, torch.dtype | None] = {"f32": None}
if has_native_bf16(torch.device("cpu")):
    PRECISIONS["bf16"] = torch.bfloat16


def our_step(units: list[str], hidden: int, sentences: list[list[str]], dtype: torch.dtype | None) -> Step:
    """Return a pretraining step with P = H / 8."""
    torch.manual_seed(0)
    sizes = {"hidden_size": hidden, "projection_dim": hidden // 8}
    bilm = BiLM(BiLMConfig(units="word", tie_softmax=False, **sizes), Vocab(units))
    return update(TrainStep(bilm, dropout=DROPOUT, dtype=dtype), collate(bilm, sentences))


def update(step: TrainStep | CUDAGraphTrainStep, batch: TokenBatch) -> Step:
    """Return a function that does all of a training step on a batch."""
    bilm = step.bilm
    optimizer = build_optimizer(bilm.parameters(), TrainingConfig())

    def run() -> None:
        step(batch, 0)
        torch.nn.utils.clip_grad_norm_(bilm.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()

    return run


def steps(args: argparse.Namespace) -> None:
    """Print the units per second of a training step, ours and the baseline's."""
    units = [chr(0x4E00 + i) for i in range(args.vocab)]
    rng = np.random.default_rng(0)
    sentences = [list(rng.choice(units, LENGTH)) for _ in range(ROWS)]
    table: dict[str, list[str]] = {}
    for hidden in args.hidden:
        runs: dict[str, Step] = {}
        baseline = baseline_step(units, hidden, sentences, dropout=DROPOUT, clip=CLIP)
        if baseline is not None:
            runs[BASELINE] = baseline
        runs |= {name: our_step(units, hidden, sentences, dtype) for name, dtype in PRECISIONS.items()}
        found = medians(runs, args.rounds, time.perf_counter)
        for name, seconds in found.items():
            table.setdefault(name, []).append(f"{ROWS * LENGTH / seconds:,.0f}{ratio(name, found)}")
    show(f"{ROWS} x {LENGTH}, {args.vocab:,} units: units/s", [f"H {h}" for h in args.hidden], table)


def bundled(args: argparse.Namespace) -> None:
    """Print the units per second with the bundled sizes, and the share of torch's product speed."""
    units = [chr(0x4E00 + i) for i in range(6036)]
    config = BiLMConfig(projection_dim=256, hidden_size=512, tie_softmax=True)
    precision = "bf16" if "bf16" in PRECISIONS else "f32"
    training = TrainingConfig(batch_tokens=4096, dropout=0.0, precision=precision)
    settings = PretrainConfig(paths=Paths(), vocab=VocabConfig(), training=training, model={})
    lengths = typical_lengths(None, config)
    flops = sum(training_flops(BiLM(config, Vocab(units)), settings).values())
    a, b = (torch.randn(4096, 4096, dtype=PRECISIONS[precision]) for _ in range(2))
    rates: dict[str, list[float]] = {"native kernel": [], "torch alone": [], "one product": []}
    for _ in range(args.rounds):
        for name in ("native kernel", "torch alone"):
            with mock.patch.object(native_training, "available", partial(operator.eq, name, "native kernel")):
                rate = measure_speed(config, Vocab(units), settings, lengths, tokens=4096)
            rates[name].append(rate)
        seconds = medians({"": lambda: a @ b}, 3, time.perf_counter)[""]
        rates["one product"].append(2 * 4096**3 / seconds / flops)
    middle = {name: statistics.median(found) for name, found in rates.items()}
    rows = {
        name: [f"{rate:,.0f}", f"{rate * flops / 1e9:,.0f}", f"{rate / middle['one product']:.2f}"]
        for name, rate in middle.items()
    }
    heads = ["units/s", "GFLOP/s", "of one product"]
    show(f"H 512, P 256, 6,040 units, {precision}, sentences of {lengths}", heads, rows)


def softmax(args: argparse.Namespace, vocab: int = 52_000, samples: int = 8192) -> None:
    """Print the milliseconds of one direction's softmax, forward and backward, over 52,000 words."""
    targets = torch.from_numpy(np.random.default_rng(0).zipf(1.2, ROWS * LENGTH) % vocab)
    sampler = CandidateSampler(vocab, samples, torch.device("cpu"))

    def torch_own(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(x, weight, bias), targets, reduction="sum")

    def full(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return ChunkedCrossEntropy.apply(x, weight, bias, targets, None)

    def sampled(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return sampled_softmax_loss(x, weight, bias, targets, sampler.sample(targets, 0))

    def in_type(loss: Callable[..., Tensor], dtype: torch.dtype | None) -> Callable[..., Tensor]:
        return loss if dtype is None else lambda x, *weights: loss(x.to(dtype), *weights)

    losses: dict[str, Callable[..., Tensor]] = {"F.cross_entropy, f32: N x V logits": torch_own}
    ours = {f"full, {{}}, chunks of {LOGIT_CHUNK}": full, f"sampled, {{}}, {samples:,} of {vocab:,}": sampled}
    for name, loss in ours.items():
        for precision, dtype in PRECISIONS.items():
            losses[name.format(precision)] = in_type(loss, dtype)
    widths = (256, 512)
    table: dict[str, list[str]] = {name: [] for name in losses}
    for width in widths:
        inputs = torch.randn(len(targets), width), torch.randn(vocab, width) / width**0.5, torch.zeros(vocab)
        leaves = [tensor.requires_grad_() for tensor in inputs]

        def step(loss: Callable[..., Tensor], leaves: list[Tensor] = leaves) -> object:
            return torch.autograd.grad(loss(*leaves), leaves)

        timed = medians(
            {name: lambda f=f, s=step: s(f) for name, f in losses.items()}, args.rounds, time.perf_counter
        )
        for name, seconds in timed.items():
            table[name].append(f"{1000 * seconds:,.0f}")
    show(f"{len(targets):,} predictions: ms", [f"width {w}" for w in widths], table)


CONFIG = """
[paths]
train = "{corpus}"
dev = "{heldout}"
[model]
hidden_size = 1024
projection_dim = 128
[training]
max_steps = 60
batch_tokens = 4096
log_every = 20
"""


def processes(args: argparse.Namespace) -> None:
    """Print the units per second of `spacy_elmo pretrain`: one process on one or all cores, one per core."""
    cores = len(os.sched_getaffinity(0))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = ("".join(chr(0x4E00 + i) for i in rng.zipf(1.3, LENGTH) % 5000) for _ in range(8000))
        (folder / "text.txt").write_text("".join(line + "\n" for line in text), encoding="utf8")
        program = [sys.executable, "-m", "spacy_elmo"]
        _call([*program, "corpus", str(folder / "text.txt"), str(folder / "corpus")], 1)
        (folder / "heldout.txt").write_text("一二三\n", encoding="utf8")
        config = CONFIG.format(corpus=folder / "corpus", heldout=folder / "heldout.txt")
        (folder / "pretrain.cfg").write_text(config, encoding="utf8")
        many = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={cores}"]
        many += ["-m", "spacy_elmo"]
        ways = {
            "1 process, 1 thread": (program, 1),
            f"1 process, {cores} threads": (program, cores),
            f"{cores} processes, 1 thread each": (many, 1),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(args.rounds):
            for i, (way, (start, threads)) in enumerate(ways.items()):
                output = folder / f"run-{turn}-{i}"
                call = [*start, "pretrain", str(folder / "pretrain.cfg"), "--output", str(output)]
                rates[way].append(_rate(_call(call, threads)))
    middle = {way: statistics.median(found) for way, found in rates.items()}
    one = next(iter(middle.values()))
    rows = {way: [f"{rate:,.0f}", f"{rate / one:.2f}x"] for way, rate in middle.items()}
    show("H 1024, P 128, batches of 4,096", ["units/s", ""], rows)


def _call(command: list[str], threads: int) -> str:
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout + done.stderr


def _rate(log: str) -> float:
    """Return the units per second of the last line of a log that has them."""
    words = [line.split() for line in log.splitlines() if "units/s" in line][-1]
    return float(words[words.index("units/s") - 1].replace(",", ""))


PARTS = {"bundled": bundled, "steps": steps, "softmax": softmax, "processes": processes}


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--hidden", nargs="+", type=int, default=[1024, 2048, 4096])
    parser.add_argument(
        "--vocab", type=int, default=6000, help="units that are predicted; about a character model's"
    )
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {args.rounds} in turns")
    for part in args.parts:
        print()
        PARTS[part](args)


if __name__ == "__main__":
    main()

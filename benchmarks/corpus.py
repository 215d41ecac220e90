"""Rate and memory of `spacy elmo corpus` on synthetic text of any size, beside the bare segmenter.

python benchmarks/corpus.py --size 100MB --units word --segmenter jieba --jobs 1 2
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from spacy_elmo.bilm.text import characters, sentence_spans
from spacy_elmo.pretraining.segment import make_segmenter

HAN = 3500  # distinct characters
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def synthetic(rng: np.random.Generator, characters: int) -> str:
    """Lines of Han characters by Zipf's law: what a segmenter takes for words hardly repeats."""
    odds = 1 / np.arange(3, HAN + 3)
    codes = 0x4E00 + rng.choice(HAN, characters, p=odds / odds.sum())
    marks = rng.random(characters)
    codes = np.where(marks < 0.08, ord("，"), codes)
    codes = np.where(marks < 0.04, ord("。"), codes)
    codes = np.where(marks < 0.01, ord("\n"), codes)
    return codes.astype("<u4").tobytes().decode("utf-32-le") + "\n"


def write_text(path: Path, size: int) -> None:
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(synthetic(rng, 2**20).encode("utf8"))


def bare_rate(args: argparse.Namespace) -> float:
    """Characters a second of the segmenter alone, in one process, on sentences that are cut already."""
    segment: Callable[[str], object] = characters  # which is what cuts text for a character model
    if args.units == "word":
        segment = make_segmenter(args.units, args.segmenter, args.lang)
    text = synthetic(np.random.default_rng(1), 2**19)
    found = [text[a:b] for a, b in sentence_spans(text)]
    segment(found[0])
    began = time.process_time()
    for sentence in found:
        segment(sentence)
    return len(text) / (time.process_time() - began)


def _busy() -> float:
    """Processor seconds of all processes below this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peaks(process: subprocess.Popen) -> tuple[float, float]:
    """Peak memory in GB of a process and of the largest below it, until it ends. Linux only."""
    parent, workers = 0.0, 0.0
    while process.poll() is None:
        parent = max(parent, _peak(process.pid))
        workers = max([workers, *map(_peak, _below(process.pid))])
        time.sleep(0.2)
    return parent, workers


def _peak(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return max([int(line.split()[1]) / 1e6 for line in lines if line.startswith("VmHWM")], default=0.0)


def _below(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid for child in children for pid in (int(child), *_below(int(child)))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="100MB")
    parser.add_argument("--units", default="char")
    parser.add_argument("--segmenter", default="char")
    parser.add_argument("--lang", default="zh")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1])
    parser.add_argument("--scratch", type=Path, help="Folder for the text and the corpora")
    args = parser.parse_args()
    size = int(float(args.size[:-2]) * UNITS[args.size[-2:].upper()])
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        text = Path(scratch) / "text.txt"
        write_text(text, size)
        bare = bare_rate(args)
        print(f"{args.size}, {args.units}, {args.segmenter}; bare segmenter {bare:,.0f} characters/s a core")
        for jobs in args.jobs:
            command = [
                sys.executable,
                "-m",
                "spacy_elmo",
                "corpus",
                text,
                Path(scratch) / "corpus",
                "--dedup",
            ]
            for key in ("units", "segmenter", "lang"):
                command += [f"--{key}", getattr(args, key)]
            began, busy = time.perf_counter(), _busy()
            process = subprocess.Popen(list(map(str, [*command, "--jobs", jobs])))
            parent, worker = peaks(process)
            seconds, busy = time.perf_counter() - began, _busy() - busy
            n = size / 3  # nearly all are of three bytes
            print(
                f"jobs {jobs}: {seconds:.1f} s ({n / seconds:,.0f} characters/s), {busy:.1f} s of processor "
                f"time: {n / busy / bare:.0%} of the bare segmenter a core; "
                f"peak {parent:.2f} GB in the parent, {worker:.2f} GB in a worker"
            )


if __name__ == "__main__":
    main()

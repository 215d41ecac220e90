"""Measure the speed and memory of `spacy elmo corpus`, compared with the segmenter alone.

    python benchmarks/bench_corpus.py --size 100MB --units word --segmenter jieba --n-process 1 2
    python benchmarks/bench_corpus.py --text FILE --units word --segmenter jieba --n-process 1 2
    python benchmarks/bench_corpus.py --text FILE --units word --segmenter pkuseg:FOLDER --n-process 1 2

The text is synthetic, of any size, or yours. The segmenter is timed in one process before and after each
corpus, on sentences that are already split.
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

from spacy_elmo.pretraining.data.segmentation import make_segmenter
from spacy_elmo.text import sentence_spans, split_characters

HAN = 3500  # distinct characters
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def synthetic(rng: np.random.Generator, characters: int) -> str:
    """Yield lines of Han characters by Zipf's law, in which words hardly repeat."""
    odds = 1 / np.arange(3, HAN + 3)
    codes = 0x4E00 + rng.choice(HAN, characters, p=odds / odds.sum())
    marks = rng.random(characters)
    codes = np.where(marks < 0.08, ord("，"), codes)
    codes = np.where(marks < 0.04, ord("。"), codes)
    codes = np.where(marks < 0.01, ord("\n"), codes)
    return codes.astype("<u4").tobytes().decode("utf-32-le") + "\n"


def write_text(path: Path, size: int) -> None:
    """Write synthetic text of `size` bytes."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(synthetic(rng, 2**20).encode("utf8"))


def bare_rate(args: argparse.Namespace, text: str) -> float:
    """Return the characters per second of the segmenter alone, in this process, on split sentences."""
    segment: Callable[[str], object] = split_characters  # the segmenter of a character model
    if args.segmenter == "jieba":
        import jieba

        segment = jieba.lcut
    elif args.segmenter.startswith("pkuseg:"):
        import spacy_pkuseg

        segment = spacy_pkuseg.pkuseg(args.segmenter.partition(":")[2]).cut
    elif args.units == "word":
        segment = make_segmenter(args.units, args.segmenter, args.lang)
    found = [text[a:b] for a, b in sentence_spans(text)]
    segment(found[0])
    began = time.process_time()
    for sentence in found:
        segment(sentence)
    return len(text) / (time.process_time() - began)


def sample(path: Path, pieces: int = 32) -> str:
    """Return about 2 million bytes of complete lines, spread over the text."""
    found: list[bytes] = []
    with path.open("rb") as file:
        for i in range(pieces):
            file.seek(path.stat().st_size * i // pieces)
            found += file.readlines(2**21 // pieces)[1:]
    return b"".join(found).decode("utf8", "replace")


def _busy() -> float:
    """Return the CPU seconds of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peaks(process: subprocess.Popen) -> tuple[float, float]:
    """Return the peak memory in GB of a process and of its largest child, until it ends. Linux only."""
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
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="100MB")
    parser.add_argument("--text", type=Path, help="A file of UTF-8 to cut in place of synthetic text")
    parser.add_argument("--units", default="char")
    parser.add_argument("--segmenter", default="char")
    parser.add_argument("--lang", default="zh")
    parser.add_argument("--n-process", type=int, nargs="+", default=[1])
    parser.add_argument("--scratch", type=Path, help="Folder for the text and the corpora")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        text = args.text
        if text is None:
            text = Path(scratch) / "text.txt"
            write_text(text, int(float(args.size[:-2]) * UNITS[args.size[-2:].upper()]))
        some = sample(text)
        n = text.stat().st_size * len(some) / len(some.encode("utf8"))  # characters, approximately
        print(f"{n:,.0f} characters, {args.units}, {args.segmenter}")
        bare = bare_rate(args, some)
        for jobs in args.jobs:
            output = Path(scratch) / "corpus"
            command = [sys.executable, "-m", "spacy_elmo", "corpus", text, output, "--dedup"]
            for key in ("units", "segmenter", "lang"):
                command += [f"--{key}", getattr(args, key)]
            began, busy = time.perf_counter(), _busy()
            process = subprocess.Popen(list(map(str, [*command, "--n-process", jobs])))
            parent, worker = peaks(process)
            seconds, busy = time.perf_counter() - began, _busy() - busy
            before, bare = bare, bare_rate(args, some)
            both = 2 / (1 / before + 1 / bare)
            print(
                f"jobs {jobs}: {seconds:.1f} s ({n / seconds:,.0f} characters/s), {busy:.1f} s of processor "
                f"time: {n / busy:,.0f} characters/s a core, {n / busy / both:.0%} of the {both:,.0f} of the "
                f"bare segmenter; peak {parent:.2f} GB in the parent, {worker:.2f} GB in a worker"
            )


if __name__ == "__main__":
    main()

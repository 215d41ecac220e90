"""Measure the memory of a pipeline with elmo: in a stream of docs, and with one long doc.

    python benchmarks/bench_memory.py TEXT [--docs 10000] [--tokens 20000]

TEXT: UTF-8, one paragraph per line, repeated as needed. Each case runs in a new process; Linux measures.
"""

import argparse
import re
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path

import spacy


def memory() -> tuple[float, float]:
    """Return MiB resident now and at the peak."""
    found = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", Path("/proc/self/status").read_text()))
    return int(found["VmRSS"]) / 1024, int(found["VmHWM"]) / 1024


def stream(nlp: spacy.Language, lines: list[str], n: int) -> None:
    """Process `n` docs and print the memory."""
    print("| docs read | MiB resident | at the most |\n|---|---|---|")
    docs = nlp.pipe(islice(cycle(lines), n), batch_size=64)
    for number, _ in enumerate(docs, 1):
        if number in (n // 20, n // 4, n // 2, n):
            print(f"| {number:,} | {memory()[0]:,.0f} | {memory()[1]:,.0f} |")


def long_doc(nlp: spacy.Language, lines: list[str], n: int) -> None:
    """Process one doc of `n` tokens and print the memory."""
    text = "\n".join(islice(cycle(lines), n))[: n + n // 50]
    before = memory()[0]
    doc = nlp(text)
    layers = doc._.elmo.layers.nbytes / 2**20
    more = memory()[1] - before
    print(f"one doc of {len(doc):,} tokens: {more:,.0f} MiB more at the most; it carries {layers:,.0f}")


def main() -> None:
    """Run the benchmark in new processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--docs", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--part", choices=["stream", "long"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part is None:
        for part in ("stream", "long"):
            subprocess.run([sys.executable, *sys.argv, "--part", part], check=True)
        return
    lines = [line for line in args.text.read_text(encoding="utf8").split("\n") if line]
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo")
    nlp("他打球，我打字。")
    if args.part == "stream":
        stream(nlp, lines, args.docs)
    else:
        long_doc(nlp, lines, args.tokens)


if __name__ == "__main__":
    main()

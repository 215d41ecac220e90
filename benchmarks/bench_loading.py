"""Measure the time and memory that spacy-elmo adds to a process that has imported spaCy and torch.

    python benchmarks/bench_loading.py [--model DIR] [--runs 5]

Every figure is the median over several new processes, minus the value after both imports. CPU seconds depend
less on other programs than wall-clock seconds. Memory is measured by Linux.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import spacy
import torch

# Each is run in a process of its own. The first line of the two pipelines is spaCy's own cost.
BLANK = 'nlp = spacy.blank("zh")'
CASES = {
    "import spacy_elmo": "import spacy_elmo",
    'spacy.blank("zh")': BLANK,
    '+ add_pipe("elmo")': f'{BLANK}; nlp.add_pipe("elmo", config=CONFIG)',
    "+ first doc": f'{BLANK}; nlp.add_pipe("elmo", config=CONFIG); nlp("他打球，我打字。")',
}
PROGRAM = """
import json, re, sys, time
import spacy, torch

CONFIG = json.loads(sys.argv[1])

def mark():
    with open("/proc/self/status") as file:
        kib = dict(re.findall(r"(VmRSS|VmHWM):\\s+(\\d+) kB", file.read()))
    memory = int(kib["VmRSS"]) / 1024, int(kib["VmHWM"]) / 1024
    return time.perf_counter(), time.process_time(), *memory

before = mark()
exec(sys.argv[2])
after = mark()
print(json.dumps([*(b - a for a, b in zip(before, after)), before[2]]))
"""


def measure(code: str, model: Path | None) -> list[float]:
    """Return wall-clock and CPU seconds, MiB resident and at the peak, and MiB resident before."""
    config = json.dumps({"model": {"path": None if model is None else str(model.resolve())}})
    command = [sys.executable, "-c", PROGRAM, config, code]
    # Not in the root, whose sources Python would import in place of an installed package.
    here = Path(__file__).parent
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=here)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=None, help="a model folder; left out: the bundled one")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    found: dict[str, list[list[float]]] = {name: [] for name in CASES}
    for _ in range(args.runs + 1):
        for name, code in CASES.items():
            found[name].append(measure(code, args.model))
    medians = {
        name: [statistics.median(x) for x in zip(*rows[1:], strict=True)] for name, rows in found.items()
    }
    machine = platform.processor() or platform.machine()
    versions = f"Python {platform.python_version()}, spaCy {spacy.__version__}, torch {torch.__version__}"
    print(f"{machine}, {torch.get_num_threads()} threads, {versions}")
    print(f"median of {args.runs} processes after one that is not counted")
    start = statistics.median(values[-1] for values in medians.values())
    print(f"spaCy and torch alone have {start:.0f} MiB; above that:")
    print(f"{'':<20}{'seconds':>9}{'of CPU':>9}{'MiB':>8}{'at the peak':>13}")
    for name, (clock, processor, resident, peak, _) in medians.items():
        print(f"{name:<20}{clock:>9.3f}{processor:>9.3f}{resident:>8.1f}{peak:>13.1f}")


if __name__ == "__main__":
    main()

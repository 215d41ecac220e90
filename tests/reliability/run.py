"""Measures the promises of docs/reliability.md in their long form.

    python tests/reliability/run.py fuzz --count 20000 [--seed 0] [--only corpus]

Prints what went wrong and the figures; returns 1 if anything went wrong.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def run_fuzz(options: argparse.Namespace) -> bool:
    """Read damaged files; see fuzz.py."""
    from reliability.fuzz import fuzz

    outcomes = fuzz(options.count, options.seed, first=options.first, only=options.only)
    for outcome, n in outcomes.most_common():
        print(f"{n:8,}  {outcome}")
    return not outcomes["WRONG"]


def run_kills(options: argparse.Namespace) -> bool:
    """Kill work and fill its disk; see kills.py."""
    from reliability.kills import disturb

    done = disturb(options.count, options.seed, only=options.only)
    for what, n in sorted(done.items()):
        print(f"{n:8,}  {what}")
    return not done["WRONG"]


def run_concurrency(options: argparse.Namespace) -> bool:
    """Begin processes with threads, and more; see concurrency.py."""
    from reliability.concurrency import begin, pipe_with_processes, two_on_one_output

    ends = begin(options.count)
    print(f"{options.count:,} processes that begin with 8 threads: {dict(ends)}")
    two = two_on_one_output(max(20, options.count // 5))
    print(f"two processes on one output: {dict(two)}")
    pipes = {method: pipe_with_processes(method) for method in ("fork", "spawn")}
    print(f"nlp.pipe(n_process=4), the same as with one process: {pipes}")
    return set(ends) == {"right"} and not two["wrong"] and all(pipes.values())


def run_load(options: argparse.Namespace) -> bool:
    """Read and train long, and measure memory and time; see load.py."""
    from pipeline.helpers import make_bilm

    from reliability import load

    model = Path(tempfile.mkdtemp()) / "tiny"
    make_bilm("char").save(model)
    found = {
        f"{options.count:,} tokens, tiny model": load.pipe(options.count, model),
        f"{options.steps:,} steps of nlp.update": load.update(options.steps, model),
    }
    if options.bundled:
        found[f"{options.bundled:,} tokens, bundled model"] = load.pipe(options.bundled)
    for what, growth in found.items():
        print(f"{what}: {growth.bytes_each:+.3f} bytes each, {growth.megabytes:.0f} MB at the end,")
        print(f"    the last fifth takes {growth.slower:.2f} times as long as the second")
    most = options.megabytes * 2**20 / 10**6
    return all(growth.bytes_each < most and growth.slower < 1.5 for growth in found.values())


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("fuzz", help=run_fuzz.__doc__)
    command.add_argument("--count", type=int, default=20_000)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--first", type=int, default=0)
    command.add_argument("--only", help="part of the name of a kind of file")
    command.set_defaults(run=run_fuzz)
    command = commands.add_parser("kills", help=run_kills.__doc__)
    command.add_argument("--count", type=int, default=200)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--only", help="the name of a piece of work")
    command.set_defaults(run=run_kills)
    command = commands.add_parser("concurrency", help=run_concurrency.__doc__)
    command.add_argument("--count", type=int, default=1000)
    command.set_defaults(run=run_concurrency)
    command = commands.add_parser("load", help=run_load.__doc__)
    command.add_argument("--count", type=int, default=2_000_000, help="tokens for a tiny model")
    command.add_argument("--bundled", type=int, default=2_000_000, help="tokens for the bundled model")
    command.add_argument("--steps", type=int, default=5000)
    command.add_argument("--megabytes", type=int, default=20, help="of a million tokens or steps, at most")
    command.set_defaults(run=run_load)
    options = parser.parse_args()
    begin = time.monotonic()
    good = options.run(options)
    print(f"{'all as promised' if good else 'BROKEN'}, {time.monotonic() - begin:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

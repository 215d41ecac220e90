"""Measures the promises of docs/reliability.md in their long form.

    python tests/reliability/run.py fuzz --count 20000 [--seed 0] [--only corpus]

Prints what went wrong and the figures; returns 1 if anything went wrong.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from reliability.fuzz import fuzz


def run_fuzz(options: argparse.Namespace) -> bool:
    """Read damaged files; see fuzz.py."""
    outcomes = fuzz(options.count, options.seed, first=options.first, only=options.only)
    for outcome, n in outcomes.most_common():
        print(f"{n:8,}  {outcome}")
    return not outcomes["WRONG"]


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
    options = parser.parse_args()
    begin = time.monotonic()
    good = options.run(options)
    print(f"{'all as promised' if good else 'BROKEN'}, {time.monotonic() - begin:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

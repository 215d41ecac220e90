"""Run a command, and write its processor seconds and its peak memory in MB to a JSON file.

    python measure_process.py FILE COMMAND...

Only a small process that starts nothing else can measure a peak: Linux counts the memory of the process that
starts a command as the command's, and knows one peak for all commands that a process has started. So this
script imports nothing large.
"""

import json
import resource
import subprocess
import sys
from pathlib import Path


def main(output: str, *command: str) -> int:
    """Return the exit status of the command."""
    status = subprocess.call(command)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {"seconds": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
    Path(output).write_text(json.dumps(found), encoding="utf8")
    return status if status >= 0 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

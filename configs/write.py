"""Write the configurations of this folder again that `spacy elmo init-config` wrote.

    python configs/write.py

The command is in each of the files.
"""

import os
import shlex
from pathlib import Path

from spacy_elmo.cli.commands import app

MARK = "#   spacy elmo init-config "


def command_in(path: Path) -> list[str] | None:
    """Return the arguments of `spacy elmo` that wrote a file; None if it was written otherwise."""
    lines = path.read_text(encoding="utf8").splitlines()
    return next((shlex.split(line)[3:] for line in lines if line.startswith(MARK)), None)


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    for config in sorted(Path("configs").glob("*.cfg")):
        arguments = command_in(config)
        if arguments:
            app([*arguments, "--force"], standalone_mode=False)

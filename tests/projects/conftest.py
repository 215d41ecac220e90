"""The scripts of the projects are not packages: this puts their folders where the tests can import them."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "projects" / folder) for folder in ("zh_elmo/scripts", "browser")]

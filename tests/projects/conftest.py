"""The scripts of the project are not a package: this puts their folder where the tests can import them."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "projects" / "zh_elmo" / "scripts"))

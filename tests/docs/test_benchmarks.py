"""docs/benchmarks.md gives the same six entries before every table."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf8")
ENTRIES = ["Command", "Commit", "Machine", "Date", "Median", "Spread"]


def test_every_table_has_the_entries_of_the_template():
    _, *sections = re.split(r"^## ", PAGE, flags=re.M)
    before_tables = [
        part for section in sections for part in re.split(r"(?:^\|.*\n)+", section, flags=re.M)[:-1]
    ]
    assert len(before_tables) > 20
    for text in before_tables:
        assert re.findall(r"^- \*\*(\w+)\*\*: \S", text, re.M) == ENTRIES, text

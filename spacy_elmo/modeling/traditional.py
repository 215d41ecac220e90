"""Map traditional Chinese characters to simplified ones for models of simplified text (traditional.txt)."""

from collections.abc import Container
from pathlib import Path

from ..locks import BuildOnce

TABLE = Path(__file__).with_name("traditional.txt")


@BuildOnce
def simplified_forms() -> dict[str, str]:
    """Read the table: a simplified character for each traditional one."""
    lines = TABLE.read_text(encoding="utf8").splitlines()
    return {line[0]: line[1] for line in lines if not line.startswith("#")}


def missing_forms(known: Container[str]) -> dict[str, str]:
    """Return the traditional characters that are not `known` but whose simplified forms are."""
    return {old: new for old, new in simplified_forms().items() if old not in known and new in known}

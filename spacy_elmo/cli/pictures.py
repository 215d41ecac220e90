"""Write pictures (matplotlib) and HTML pages, and mark them so that a later command may replace them."""

import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ElmoError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARK = "spacy-elmo"  # who made it; in every file
MARK_IN_HTML = f'<meta name="generator" content="{MARK}">'
FORMATS = (".svg", ".png")

_MARKS = {  # how a file of each format names its maker
    ".svg": rf"<dc:creator>\s*<cc:Agent>\s*<dc:title>{MARK}</dc:title>",
    ".png": rf"tEXtSoftware\0{MARK}",
    ".html": MARK_IN_HTML,
}


def check_file(path: Path, suffixes: tuple[str, ...] = FORMATS) -> None:
    """Raise an OutputError unless `path` has one of the suffixes, and is new or marked by this package."""
    from ..errors import OutputError

    if path.suffix not in suffixes:
        raise OutputError(f"{path} does not end in {' or '.join(suffixes)}: give a name that does.")
    if path.is_dir() or (path.exists() and not _is_ours(path)):
        raise OutputError(f"Cannot write {path}: another program wrote it; name a new file.")


def _is_ours(path: Path) -> bool:
    return re.search(_MARKS[path.suffix].encode(), path.read_bytes()) is not None


def make_figure(width: float, height: float) -> "Figure":
    """Return an empty figure; sizes in inches. Raises an ElmoError where matplotlib is missing."""
    try:
        from matplotlib import rcParams
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ElmoError(
            "Pictures need the package matplotlib: pip install 'spacy-elmo[monitoring]'."
        ) from error
    rcParams["svg.fonttype"] = "none"  # text stays text: it can be searched, and its font is the reader's
    rcParams["svg.hashsalt"] = MARK  # the same picture has the same bytes
    return Figure(figsize=(width, height), layout="constrained")


def literal(text: str) -> str:
    """Return text that matplotlib draws as it is: two dollars would begin a formula."""
    return text.replace("$", r"\$")


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as SVG or PNG, as its name says, marked as ours and without a date."""
    from ..atomic_io import write_atomic

    picture = BytesIO()
    svg = path.suffix == ".svg"
    metadata = {"Creator": MARK, "Date": None} if svg else {"Software": MARK}
    figure.savefig(picture, format=path.suffix[1:], dpi=120, metadata=metadata)
    write_atomic(path, picture.getvalue())

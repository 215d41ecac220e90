"""Find models that are installed as packages of their own, by name (`spacy elmo package` makes them)."""

from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP = "spacy_elmo_models"


def installed_models() -> dict[str, Path]:
    """Return the folders of all installed models by name. Nothing of their packages is imported."""
    found: dict[str, Path] = {}
    for point in entry_points(group=GROUP):
        spec = find_spec(point.value) if point.value.isidentifier() else None
        for folder in (spec and spec.submodule_search_locations) or ():
            found[point.name] = Path(folder)
    return found

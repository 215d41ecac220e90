"""The house keeps its order: imports point down, every name resolves, every link leads somewhere."""

import ast
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "spacy_elmo"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Which rooms a room may import from, and which of the larger libraries it may not.
MAY_IMPORT = {
    "bilm": set(),
    "pretraining": {"bilm"},
    "pipeline": {"bilm"},
    "formats": {"bilm"},
    "tasks": {"bilm", "pipeline"},
    "cli": {"bilm", "pretraining", "pipeline", "tasks", "formats", "about"},
    "models": set(),
}
MAY_NOT_IMPORT = {"bilm": {"spacy", "thinc", "h5py"}, "formats": {"spacy", "thinc"}}


def imports(path: Path) -> set[tuple[str, ...]]:
    """Modules that a file imports, anywhere in it, as tuples of their names."""
    found = set()
    here = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else ()
            found.add(base + tuple((node.module or "").split(".") if node.module else ()))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = path.relative_to(PACKAGE).parts[0]
    if room not in MAY_IMPORT:
        pytest.skip("not in a room")
    ours = {name[1] for name in imports(path) if name[0] == "spacy_elmo" and len(name) > 1}
    assert ours <= MAY_IMPORT[room] | {room}
    assert not {name[0] for name in imports(path)} & MAY_NOT_IMPORT.get(room, set())


def test_no_import_cycles():
    names = {path.relative_to(ROOT).with_suffix("").parts: path for path in MODULES}
    graph = {name: {n for n in names if n != name and n in _targets(path)} for name, path in names.items()}
    while graph:
        leaves = {name for name, targets in graph.items() if not targets & graph.keys()}
        assert leaves, f"a cycle among {sorted('.'.join(name) for name in graph)}"
        graph = {name: targets for name, targets in graph.items() if name not in leaves}


def _targets(path: Path) -> set[tuple[str, ...]]:
    """Modules that a file imports, also as `from . import module`."""
    found = set(imports(path))
    here = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            found |= {(*base, alias.name) for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_rooms(path):
    text = path.read_text(encoding="utf8")
    assert ast.get_docstring(ast.parse(text)), "the first line says what lives here"
    assert text.count("\n") <= 300


@pytest.mark.parametrize("group", ["spacy_factories", "spacy_architectures", "spacy_cli"])
def test_registered_names_resolve(group):
    ours = [entry for entry in entry_points(group=group) if entry.value.startswith("spacy_elmo")]
    assert ours
    for entry in ours:
        assert entry.load() is not None


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda p: p.name
)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf8")):
        assert (page.parent / link).exists(), link


def test_readme_has_the_two_commands():
    lines = (ROOT / "README.md").read_text(encoding="utf8").splitlines()
    commands = [line for line in lines if line.startswith("pip install ")]
    assert len(commands) == 2
    assert "spacy project run all" in commands[0]
    assert commands[1].endswith("&& pytest")

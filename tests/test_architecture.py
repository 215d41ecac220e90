"""The order of the package: imports point down, every name resolves, every link leads somewhere."""

import ast
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "spacy_elmo"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = sorted(
    path
    for folder in ("spacy_elmo", "tests", "benchmarks", "configs", "projects", "docs")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".h", ".cc")
)
MAX_LINES, MAX_FUNCTION_LINES = 300, 60

# The packages from below, sub-packages included, and those that each may import: each stands after all that
# it imports. "shared" is modules next to the packages, but for __init__ and __main__. CONTRIBUTING has the
# same table, with what lives where.
LAYERS = {
    "shared": [],
    "kernels": ["shared"],
    "modeling": ["shared", "kernels"],
    "inference.inputs": ["shared", "kernels", "modeling"],
    "inference.backends": ["shared", "kernels", "modeling", "inference.inputs"],
    "inference": ["shared", "kernels", "modeling", "inference.inputs", "inference.backends"],
    "pretraining.data": ["shared", "modeling"],
    "pretraining.init": ["shared", "modeling", "pretraining.data"],
    "pretraining.step": ["shared", "kernels", "modeling", "inference"],
    "pretraining": [
        "shared",
        "kernels",
        "modeling",
        "inference",
        "pretraining.data",
        "pretraining.init",
        "pretraining.step",
    ],
    "formats": ["shared", "modeling", "inference"],
    "pipeline.annotations": ["shared", "kernels", "inference"],
    "pipeline.layers": [
        "shared",
        "kernels",
        "modeling",
        "inference.backends",
        "inference",
        "pipeline.annotations",
    ],
    "pipeline": ["shared", "kernels", "inference", "pipeline.annotations", "pipeline.layers"],
    "tasks.lexical": [
        "shared",
        "kernels",
        "modeling",
        "inference",
        "pipeline.annotations",
        "pipeline.layers",
    ],
    "tasks.reading": ["shared", "kernels", "pipeline.annotations", "pipeline.layers"],
    "tasks": [],
    "training_config": ["shared"],
    "models": [],
}
LAYERS["cli"] = [package for package in LAYERS if package not in ("tasks", "models")]
FOREIGN = {"spacy", "thinc", "h5py"}
MAY_NOT_IMPORT = {
    "kernels": FOREIGN,
    "modeling": FOREIGN,
    "inference": FOREIGN,
    "inference.inputs": FOREIGN,
    "inference.backends": FOREIGN,
    "formats": {"spacy", "thinc"},
}


def package_of(module: tuple[str, ...]) -> str:
    """The package of a module, without "spacy_elmo"."""
    return ".".join(module[1:-1]) or "shared"


def module_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(ROOT).with_suffix("").parts


NAMES = {module_of(path) for path in MODULES}


def imports(path: Path) -> tuple[set[tuple[str, ...]], set[str]]:
    """Modules of ours that a file imports, anywhere in it, and names of other packages."""
    ours, others = set(), set()
    here = module_of(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            if base[0] != "spacy_elmo":
                others.add(base[0])
                continue
            for alias in node.names:
                choices = ((*base, alias.name), base, (*base, "__init__"))
                ours.add(next(name for name in choices if name in NAMES))
    return ours, others


def test_packages_stand_on_those_below():
    seen: list[str] = []
    for package, below in LAYERS.items():
        assert set(below) <= {*seen}, f"{package} imports a package that stands above it"
        seen.append(package)
    packages = {package_of(name) for name in NAMES}
    assert packages == set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    if path.parent == PACKAGE and path.name in ("__init__.py", "__main__.py"):
        pytest.skip("the way in from outside")
    package = package_of(module_of(path))
    ours, others = imports(path)
    assert {package_of(name) for name in ours} <= {package, *LAYERS[package]}
    assert not others & MAY_NOT_IMPORT.get(package, set())


def test_no_import_cycles():
    graph = {module_of(path): imports(path)[0] - {module_of(path)} for path in MODULES}
    while graph:
        leaves = {name for name, targets in graph.items() if not targets & graph.keys()}
        assert leaves, f"a cycle among {sorted('.'.join(name) for name in graph)}"
        graph = {name: targets for name, targets in graph.items() if name not in leaves}


def test_contributing_has_the_same_table():
    rows = re.findall(
        r"^\| `spacy_elmo/([\w/]*)` \|.*\| ([^|]*) \|$",
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8"),
        re.M,
    )
    table = {
        name.strip("/").replace("/", ".") or "shared": re.findall(r"`([\w.]+)`", below)
        for name, below in rows
    }
    everything = table.pop("cli")
    assert everything == []  # "all of the above"
    assert table == {package: below for package, below in LAYERS.items() if package != "cli"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_say_what_they_hold(path):
    text = path.read_text(encoding="utf8")
    assert ast.get_docstring(ast.parse(text)), "the first line says what lives here"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf8")
    assert text.count("\n") <= MAX_LINES
    functions = ast.walk(ast.parse(text)) if path.suffix == ".py" else ()
    for node in functions:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, node.name


@pytest.mark.parametrize(
    "group", ["spacy_factories", "spacy_architectures", "spacy_readers", "spacy_scorers", "spacy_cli"]
)
def test_registered_names_resolve(group):
    ours = [entry for entry in entry_points(group=group) if entry.value.startswith("spacy_elmo")]
    assert ours
    for entry in ours:
        assert entry.load() is not None


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda p: p.name
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

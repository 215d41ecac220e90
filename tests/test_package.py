"""Statements of setup.cfg about the package are true: imported libraries are declared, with a reason."""

import ast
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

from spacy_elmo import errors
from spacy_elmo.about import __version__
from spacy_elmo.formats.elmoformanylangs import SAFE_TORCH

ROOT = Path(__file__).parents[1]
# Imported only where another library has brought it along, or on the user's own cluster.
BROUGHT_ALONG = {"triton": "torch", "cupy": "thinc", "ray": "joblib", "dask": "joblib"}
MODULES_OF = {"spacy-pkuseg": "spacy_pkuseg"}


def setup_cfg() -> ConfigParser:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf8")
    return config


def names(requirements: str) -> list[str]:
    """Names of the projects in a list of requirements, one a line."""
    found = re.findall(r"^\s*([A-Za-z0-9_.-]+)", requirements, re.MULTILINE)
    return [name.lower() for name in found]


def imported(path: Path) -> set[str]:
    """Top-level modules of other projects that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"spacy_elmo"}


def modules(requirements: str) -> set[str]:
    return {MODULES_OF.get(name, name) for name in names(requirements)}


def test_every_import_is_declared_and_every_dependency_imported():
    config = setup_cfg()
    required = modules(config["options"]["install_requires"])
    extras = {m for extra in config["options.extras_require"].values() for m in modules(extra)}
    used = {path: imported(path) for path in (ROOT / "spacy_elmo").rglob("*.py")}
    undeclared = {
        p.name: m for p, found in used.items() if (m := found - required - extras - {*BROUGHT_ALONG})
    }
    assert not undeclared
    assert required <= set().union(*used.values())


def test_every_dependency_has_a_reason():
    text = (ROOT / "setup.cfg").read_text(encoding="utf8")
    explained = re.findall(r"^#   (\S+)  +\S", text, re.MULTILINE)
    assert sorted(explained) == sorted(names(setup_cfg()["options"]["install_requires"]))


def test_no_import_changes_the_filters_of_warnings():
    """They are the process's own."""
    others = "import spacy, thinc.api, torch, torch.distributed, safetensors.torch, joblib, typer, warnings"
    code = (
        f"{others}, importlib, pkgutil, spacy_elmo\n"
        "before = list(warnings.filters)\n"
        "for module in pkgutil.walk_packages(spacy_elmo.__path__, 'spacy_elmo.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        try: importlib.import_module(module.name)\n"
        "        except ImportError: pass\n"  # of an extra that is not installed
        "assert warnings.filters == before, set(warnings.filters) - set(before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]


def test_no_torch_is_allowed_whose_reader_is_refused():
    requirement = re.search(
        r"^torch>=(\d+)\.(\d+)$", setup_cfg()["options"]["install_requires"], re.MULTILINE
    )
    assert requirement is not None
    assert tuple(map(int, requirement.groups())) >= SAFE_TORCH


def test_all_errors_are_in_one_module():
    """But the one that belongs to two libraries: a model folder's error that is also a config's."""
    defined = {
        node.name
        for path in (ROOT / "spacy_elmo").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8")))
        if isinstance(node, ast.ClassDef) and any("Error" in ast.unparse(base) for base in node.bases)
    }
    assert defined == {*errors.__all__, "ModelConfigError"}
    assert all(issubclass(getattr(errors, name), errors.ElmoError) for name in errors.__all__)


def test_the_citation_has_the_version():
    (cited,) = re.findall(
        r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf8"), re.MULTILINE
    )
    assert cited == __version__

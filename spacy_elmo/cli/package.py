"""`spacy elmo package`: make a wheel of a model, which is found by its name when it is installed."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from wasabi import msg

from .app import command

if TYPE_CHECKING:
    from ..modeling.config import BiLMConfig

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?", re.ASCII)
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"

PYPROJECT = """\
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"

[project]
name = {name}
version = {version}
description = {description}
readme = "README.md"
license = {{text = {licence}}}
dependencies = ["spacy-elmo>={required}"]

[project.entry-points.{group}]
{name} = {name}

[tool.setuptools]
packages = [{name}]

[tool.setuptools.package-data]
{name} = ["*"]
"""

INIT = '"""A model folder of spacy-elmo: spacy_elmo.load({name})."""\n'


@command("package")
def package(
    model: str = typer.Argument(..., help="A model folder, or the name of an installed model"),
    output: Path = typer.Argument(..., help="Folder for the wheel"),
    name: str | None = typer.Option(
        None, help="Name of the package and of the model; default: the name of the model"
    ),
    version: str = typer.Option("0.1.0", help="Version of the package"),
) -> None:
    """Make an installable wheel of a model.

    After `pip install WHEEL`, the name of the model can be used wherever a path is expected:
    nlp.add_pipe("elmo", config={"model": {"path": NAME}}), spacy_elmo.load(NAME), `spacy elmo info NAME`.
    """
    from ..atomic_io import check_parents
    from ..errors import OutputError
    from ..inference.loading import resolve_model_path
    from ..modeling.serialization import MODEL, read

    folder = resolve_model_path(model)
    config, _, _ = read(folder)  # raises for a damaged folder
    name = name or str(config.meta.get("name", ""))
    check_name(name)
    check_version(version)
    target = output / f"{name}-{version}-py3-none-any.whl"
    check_parents(target, "a package")
    if target.exists():
        raise OutputError(f"{target} exists: delete it, or give another --version.")
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".package-") as scratch:
        source, built = Path(scratch) / "source", Path(scratch) / "built"
        content = source / name
        content.mkdir(parents=True)
        built.mkdir()
        for file in (MODEL.marker, *MODEL.files, *MODEL.kept):
            if (folder / file).is_file():
                shutil.copyfile(folder / file, content / file)
        write_project(source, name, version, config)
        (built / build(source, built)).rename(target)
    msg.good(f"{target}: {target.stat().st_size / 1e6:.1f} MB; pip install {target}")


def check_name(name: str) -> None:
    """Raise an ElmoError for a name that a package cannot have, or that another module has."""
    from ..errors import ElmoError
    from ..inference.installed_models import installed_models
    from ..inference.loading import BUNDLED_MODEL

    advice = "give --name of lower-case letters, digits and underscores, such as zh_elmo_md."
    if not name:
        raise ElmoError(f"The model has no name: {advice}")
    if not NAME.fullmatch(name):
        raise ElmoError(f"'{name}' is not a name of a package: {advice}")
    if name == BUNDLED_MODEL:
        raise ElmoError(f"'{name}' is the name of the bundled model: give another --name.")
    if name not in installed_models() and find_spec(name) is not None:
        raise ElmoError(f"'{name}' is the name of another module: give another --name.")


def check_version(version: str) -> None:
    """Raise an ElmoError for a version that is not in the normal form of PEP 440."""
    from ..errors import ElmoError

    if not VERSION.fullmatch(version):
        raise ElmoError(f"'{version}' is not a version: give --version such as 1.0.0 or 1.1.0rc1.")


def write_project(source: Path, name: str, version: str, config: "BiLMConfig") -> None:
    """Write what setuptools needs to build a wheel of the folder source/name."""
    from ..about import __version__
    from ..inference.installed_models import GROUP

    description = " ".join(str(config.meta.get("description", "A biLM of spacy-elmo")).split())
    fields = {"name": name, "version": version, "description": description}
    fields["licence"] = str(config.meta.get("licence", "not stated"))
    quoted = {key: toml_string(value) for key, value in fields.items()}
    text = PYPROJECT.format(**quoted, required=__version__, group=GROUP)
    (source / "pyproject.toml").write_text(text, encoding="utf8")
    card = source / name / "README.md"
    readme = card.read_text(encoding="utf8") if card.is_file() else f"# {name}\n\n{description}\n"
    (source / "README.md").write_text(readme, encoding="utf8")
    (source / name / "__init__.py").write_text(INIT.format(name=name), encoding="utf8")


def toml_string(text: str) -> str:
    """Quote a string for TOML: as JSON does, but without surrogate pairs, and with U+007F escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", r"\u007f")


def build(source: Path, output: Path) -> str:
    """Build the wheel and return its file name. Raises an ElmoError with setuptools' last line."""
    from ..errors import ElmoError

    call = [sys.executable, "-c", BUILD, str(output.resolve())]
    done = subprocess.run(call, cwd=source, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        raise ElmoError(f"setuptools could not build the package: {last}")
    return done.stdout.strip().splitlines()[-1]

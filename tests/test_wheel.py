"""The wheel is all that a user needs: it holds the model, and works from elsewhere and without network."""

import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
NATIVE = {".so", ".cc", ".h"}  # sources of the kernel, and what a compiler makes of them

# Runs with the unpacked wheel in front of everything else, and no way out to a network.
PROGRAM = """
import socket
import sys

def refuse(*args, **kwargs):
    raise AssertionError("the network was asked for")

socket.getaddrinfo = socket.create_connection = refuse
socket.socket.connect = socket.socket.connect_ex = refuse

import spacy
import spacy_elmo

nlp = spacy.blank("zh")
nlp.add_pipe("elmo")
doc = nlp("他打球，我打字。")
print(spacy_elmo.__file__)
print(doc._.elmo.layers.shape[:2], bool(doc._.elmo.layers.any()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this repository, built from a copy, since building leaves folders."""
    try:
        major = int(version("setuptools").split(".")[0])
    except PackageNotFoundError:
        pytest.skip("setuptools is not installed")
    if major < 77:  # setup.cfg needs it, see pyproject.toml
        pytest.skip(f"setuptools {major} is too old to build this package")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "spacy_elmo", source / "spacy_elmo", ignore=ignored)
    code = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", code, str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("spacy_elmo-*.whl")
    return built


def test_it_holds_what_the_package_holds(wheel):
    inside = {name for name in ZipFile(wheel).namelist() if name.startswith("spacy_elmo/")}
    inside = {name for name in inside if Path(name).suffix not in NATIVE}
    package = (path for path in (ROOT / "spacy_elmo").rglob("*") if path.is_file())
    kept = (path for path in package if "__pycache__" not in path.parts and path.suffix not in NATIVE)
    # The folder of the kernel's sources has a README of its own.
    ours = {path.relative_to(ROOT).as_posix() for path in kept if path.parent.name != "native"}
    assert inside == ours
    assert any(name.endswith("weights.safetensors") for name in inside)


def test_one_wheel_serves_every_python_of_a_platform(wheel):
    _, _, python, abi, platform = wheel.stem.split("-")
    assert (python, abi) == ("py3", "none")
    assert platform.split("_")[0] == sysconfig.get_platform().split("-")[0]


def test_it_holds_the_kernel_but_not_its_sources(wheel):
    native = [Path(name).name for name in ZipFile(wheel).namelist() if Path(name).suffix in NATIVE]
    compiles = sys.platform != "win32" and shutil.which("c++")
    assert native == (["_native.so"] if compiles else [])


def test_it_works_from_elsewhere_and_offline(wheel, tmp_path, monkeypatch):
    ZipFile(wheel).extractall(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    place, vectors = done.stdout.splitlines()
    assert Path(place).is_relative_to(tmp_path / "site")
    assert vectors == "(3, 8) True"


def test_its_commands_come_along(wheel, tmp_path, monkeypatch):
    ZipFile(wheel).extractall(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    command = [sys.executable, "-m", "spacy", "elmo", "info"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(tmp_path / "site" / "spacy_elmo" / "models") in done.stdout

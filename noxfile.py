"""Run the tests in environments of their own: `nox` uses the oldest dependencies, then the newest.

Needs `nox[uv]`. Requirements after `--` are installed too, for machines that need a certain build: `nox -s
oldest -- torch==2.13.0+cpu`. Options of pytest go into PYTEST_ADDOPTS.
"""

import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["oldest", "newest"]
nox.options.error_on_missing_interpreters = True


@nox.session
def oldest(session: nox.Session) -> None:
    """Test the lowest versions that setup.cfg allows, on the newest Python that these support."""
    _test(session, "lowest-direct")


@nox.session
def newest(session: nox.Session) -> None:
    """Test the highest version of each dependency that setup.cfg allows."""
    _test(session, "highest")


@nox.session
def no_compiler(session: nox.Session) -> None:
    """Test an installation without a working compiler, where torch replaces the kernel."""
    _test(session, "highest", {"CC": "false", "CXX": "false"})


def _test(session: nox.Session, resolution: str, environment: dict[str, str] | None = None) -> None:
    """Install the package as users do, log the versions, and run the tests."""
    if environment is None and sys.platform != "win32":
        environment = {"SPACY_ELMO_KERNEL": "required"}
    # Otherwise uv would reuse the wheel of another session or of older sources.
    options = [f"--resolution={resolution}", "--reinstall-package=spacy-elmo"]
    # Tests call pip; without a bound, the lowest version is one of Python 2.
    session.install(*options, ".[test]", "pip>=23", *session.posargs, env=environment)
    session.run("uv", "pip", "list", external=True)
    root = Path(__file__).parent
    session.chdir(session.create_tmp())  # in the root, processes of the tests would import its sources
    session.run("pytest", "-c", str(root / "pyproject.toml"), str(root / "tests"))

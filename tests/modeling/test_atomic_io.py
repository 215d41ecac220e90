"""Files and folders that are complete or not there."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
from functools import partial

import pytest

from spacy_elmo import atomic_io, syscalls
from spacy_elmo.atomic_io import FolderKind, OutputError, atomic_folder, write_atomic

THING = FolderKind(
    name="a thing", marker="thing.json", kind="thing", keys=frozenset({"size"}), files=("a.txt", "sub/*.bin")
)
MARKER = json.dumps({"kind": "thing", "size": 1})


def save(path, text, kind=THING):
    with atomic_folder(path, kind) as folder:
        (folder / kind.marker).write_text(MARKER)
        (folder / "a.txt").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "1.bin").write_bytes(b"")


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_older_folder_is_replaced(tmp_path):
    for text in ("one", "two"):
        save(tmp_path / "a" / "t", text)
        assert (tmp_path / "a" / "t" / "a.txt").read_text() == text
        assert os.listdir(tmp_path / "a") == ["t"]


def test_what_comes_while_it_is_made_stays_too(tmp_path):
    save(tmp_path / "t", "old")
    with pytest.raises(OutputError, match=r"notes.txt"), atomic_folder(tmp_path / "t", THING):
        (tmp_path / "t" / "notes.txt").write_text("mine")
    assert (tmp_path / "t" / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["t"]


@pytest.mark.parametrize("swaps", [True, False], ids=["exchanged", "moved aside"])
def test_an_error_leaves_the_older_folder_and_nothing_else(swaps, tmp_path, monkeypatch):
    if not swaps:
        monkeypatch.setattr(syscalls, "exchange", lambda one, other: False)
    save(tmp_path / "t", "old")

    def stop(*paths):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(atomic_io.syscalls, "exchange" if swaps else "flush_all", stop)
    with pytest.raises(OutputError, match=r"Cannot write a thing to .*: Input/output error"):
        save(tmp_path / "t", "new")
    with pytest.raises(RuntimeError, match="stop"), atomic_folder(tmp_path / "new" / "t", THING):
        raise RuntimeError("stop")
    for place in ("t", "new/t"):
        with pytest.raises(OutputError, match="No space left"), atomic_folder(tmp_path / place, THING):
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "t", THING):
        raise FileNotFoundError("of what is read")
    assert os.listdir(tmp_path) == ["t"]
    assert (tmp_path / "t" / "a.txt").read_text() == "old"


@pytest.mark.parametrize("swaps", [True, False], ids=["exchanged", "moved aside"])
def test_a_reader_finds_a_whole_folder_at_any_time(swaps, tmp_path, monkeypatch):
    save(tmp_path / "t", "0")
    if not swaps:
        monkeypatch.setattr(syscalls, "exchange", lambda one, other: False)
    elif not syscalls.exchange(tmp_path / "t", tmp_path / "t"):
        pytest.skip("this file system exchanges no folders")
    missing, done = [], threading.Event()

    def look():
        while not done.is_set():
            if not (tmp_path / "t" / "thing.json").is_file():
                missing.append(1)

    reader = threading.Thread(target=look)
    reader.start()
    for i in range(50):
        save(tmp_path / "t", str(i))
    done.set()
    reader.join()
    assert not (swaps and missing)
    assert (tmp_path / "t" / "a.txt").read_text() == "49"
    assert os.listdir(tmp_path) == ["t"]


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from modeling import test_atomic_io as test_atomic
from spacy_elmo import atomic_io as atomic
{prepare}
test_atomic.save({path!r}, "new")
"""
DIE = "lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)"
MOMENTS = {
    "before the exchange": f"atomic.syscalls.flush_all = {DIE}",
    "after the exchange": f"atomic.shutil.rmtree = {DIE}",
    "between two moves": (
        "atomic.syscalls.exchange = lambda *a: False\n"
        "rename, calls = os.rename, []\n"
        "def move(*a):\n"
        "    calls.append(a)\n"
        "    len(calls) == 2 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "    rename(*a)\n"
        "os.rename = move"
    ),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_a_killed_process_leaves_is_removed(moment, tmp_path):
    save(tmp_path / "t", "old")
    (tmp_path / ".t.mine.spacy-elmo").mkdir()  # a name that this package does not make up
    tests = os.path.dirname(os.path.dirname(__file__))
    code = KILLED.format(tests=tests, prepare=MOMENTS[moment], path=str(tmp_path / "t"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    if moment != "between two moves":
        expected = "new" if moment == "after the exchange" else "old"
        assert (tmp_path / "t" / "a.txt").read_text() == expected
    with pytest.raises(RuntimeError, match="stop"), atomic_folder(tmp_path / "t", THING):
        raise RuntimeError("stop")
    assert (tmp_path / "t" / "a.txt").is_file()
    assert sorted(os.listdir(tmp_path)) == [".t.mine.spacy-elmo", "t"]


def test_one_of_two_writers_is_told(tmp_path):
    with atomic_folder(tmp_path / "t", THING) as folder:
        (folder / "thing.json").write_text(MARKER)
        with pytest.raises(OutputError, match="another process is writing there; wait until"):
            save(tmp_path / "t", "other")
    assert contents(tmp_path / "t") == {"thing.json": MARKER.encode()}
    save(tmp_path / "t", "next")
    assert os.listdir(tmp_path) == ["t"]


def _all_at_once(n, work):
    begin, errors = threading.Barrier(n), []

    def run(k):
        begin.wait()
        for i in range(30):
            try:
                work(f"{k} {i}")
            except OutputError as error:
                errors.append(str(error))
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_many_writers_of_a_folder(tmp_path):
    errors = _all_at_once(3, partial(save, tmp_path / "t"))
    assert all("another process is writing there" in str(error) for error in errors)
    assert len(contents(tmp_path / "t")) == 3
    assert os.listdir(tmp_path) == ["t"]


def test_many_writers_of_a_file(tmp_path):
    errors = _all_at_once(3, lambda text: write_atomic(tmp_path / "f", text.encode() * 99))
    assert errors == []
    text = (tmp_path / "f").read_text()
    assert text == text[: len(text) // 99] * 99
    assert os.listdir(tmp_path) == ["f"]


def test_write_atomic(tmp_path):
    write_atomic(tmp_path / "new" / "file", b"one")
    write_atomic(tmp_path / "new" / "file", b"two")
    assert (tmp_path / "new" / "file").read_bytes() == b"two"
    assert os.listdir(tmp_path / "new") == ["file"]
    for path in (tmp_path / "new", tmp_path / "new" / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(OutputError, match="Cannot write"):
            write_atomic(path, b"three")
    assert (tmp_path / "new" / "file").read_bytes() == b"two"
    (tmp_path / "link").symlink_to(tmp_path / "new" / "file")
    write_atomic(tmp_path / "link", b"three")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new" / "file").read_bytes() == b"three"


def test_a_link_under_the_temporary_name_is_not_followed(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    (tmp_path / ".file.new.spacy-elmo").symlink_to("precious.txt")
    write_atomic(tmp_path / "file", b"ours")
    assert (tmp_path / "precious.txt").read_text() == "mine"
    assert not (tmp_path / "file").is_symlink()
    assert contents(tmp_path) == {"file": b"ours", "precious.txt": b"mine"}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS], ids=errno.errorcode.get)
def test_a_parent_folder_that_is_read_only_is_named(number, tmp_path, monkeypatch):
    (tmp_path / "parent" / "t").mkdir(parents=True)
    original = os.open

    def refuse(path, flags, *rest, **options):
        if flags & os.O_CREAT and os.path.dirname(path) == str(tmp_path / "parent"):
            raise OSError(number, os.strerror(number), str(path))
        return original(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)  # permissions do not stop root
    parent = re.escape(str(tmp_path / "parent"))
    with pytest.raises(OutputError, match=rf"a thing to {parent}/t: .* in {parent} \(.*\); make"):
        save(tmp_path / "parent" / "t", "new")

"""Text files as people have them: packed, in JSON lines, in other encodings, next to hidden ones."""

import errno
import gzip
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacy_elmo.errors import CorpusError
from spacy_elmo.pretraining.data import text_files, zstd
from spacy_elmo.pretraining.data.text_files import ReadStats, find_files, read_lines

TEXT = "我去银行取钱。自行车很快。\n花开了！\n"


def test_hidden_files_are_left_out(tmp_path):
    for name in ("a.txt", "b/c.jsonl", "._a.txt", ".ipynb_checkpoints/a.txt", "b/.git/x.txt", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(TEXT)
    assert find_files([tmp_path]) == [tmp_path / "a.txt", tmp_path / "b" / "c.jsonl"]
    assert find_files([tmp_path / "._a.txt"]) == [tmp_path / "._a.txt"]  # who names one means it
    (tmp_path / "no" / ".git").mkdir(parents=True)
    (tmp_path / "no" / ".git" / "x.txt").write_text(TEXT)
    with pytest.raises(CorpusError, match="holds no text files"):
        find_files([tmp_path / "no"])


def test_names_in_capital_letters(tmp_path):
    (tmp_path / "A.TXT").write_text(TEXT, encoding="utf8")
    (tmp_path / "B.JsonL.GZ").write_bytes(gzip.compress(b'{"text": "one"}\n'))
    assert find_files([tmp_path]) == [tmp_path / "A.TXT", tmp_path / "B.JsonL.GZ"]
    assert list(read_lines(tmp_path / "B.JsonL.GZ")) == ["one"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    for name in ("a/a.txt", "b/b.txt", ".c/c.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(TEXT, encoding="utf8")
    private, scandir = [".c"], os.scandir

    def refuse(path="."):
        if os.path.basename(path) in private:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # permissions do not stop root
    assert find_files([tmp_path]) == [tmp_path / "a" / "a.txt", tmp_path / "b" / "b.txt"]
    private.append("b")
    with pytest.raises(CorpusError, match=re.escape(f"{tmp_path / 'b'} cannot be read: Permission denied")):
        find_files([tmp_path])


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="the system does not name its pipes")
@pytest.mark.parametrize("read", [lambda path: list(read_lines(path)), lambda path: find_files([path])])
def test_pipes_are_refused(read):
    end, start = os.pipe()
    os.write(start, TEXT.encode())
    os.close(start)
    with pytest.raises(CorpusError, match=rf"{end} is not a file or folder \(pipes cannot be read\): save"):
        read(Path(f"/dev/fd/{end}"))
    os.close(end)


@pytest.mark.parametrize("times", [1, 3, 3000])
@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("gb18030", "line 1 is not UTF-8 .*GB18030"),
        ("big5", "line 1 is not UTF-8"),
        ("utf-16", "is UTF-16"),
        ("utf-32", "is UTF-16"),
    ],
)
def test_other_encodings_are_refused(tmp_path, encoding, message, times):
    text = TEXT if encoding != "big5" else "我去銀行取錢。\n"
    (tmp_path / "a.txt").write_bytes((text * times).encode(encoding))
    for stats in (ReadStats(), None):
        with pytest.raises(CorpusError, match=message):
            list(read_lines(tmp_path / "a.txt", stats))


def test_utf_16_without_its_mark(tmp_path):
    (tmp_path / "a.txt").write_bytes(("plain\n" * 9).encode("utf-16-le"))
    with pytest.raises(CorpusError, match="most of its bytes are 0"):
        list(read_lines(tmp_path / "a.txt", ReadStats()))


def test_a_few_bad_bytes_and_zeros_are_let_through(tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXT.encode() * 9 + b"\xff\n" + "你\0好\n".encode() * 3)
    stats = ReadStats()
    assert list(read_lines(tmp_path / "a.txt", stats))[-4:] == ["\ufffd", *["你\0好"] * 3]
    assert stats.invalid_bytes == 1


def test_half_a_surrogate_pair_is_a_bad_character(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "\\ud83d\\u4f60"}\n{"text": "\\ud83d\\ude00"}\n')
    stats = ReadStats()
    assert list(read_lines(tmp_path / "a.jsonl", stats)) == ["\ufffd你", "😀"]
    assert stats.invalid_bytes == 1
    with pytest.raises(CorpusError, match=r"a.jsonl, line 1 has half of a surrogate pair"):
        list(read_lines(tmp_path / "a.jsonl"))


def _read_or_named(path):
    with suppress(CorpusError):
        for text in read_lines(path, ReadStats()):
            text.encode("utf8")
        return
    with pytest.raises(CorpusError, match=re.escape(str(path))):
        list(read_lines(path, ReadStats()))


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
ROWS = st.dictionaries(st.sampled_from(["text", "id"]), VALUES) | VALUES


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS.map(json.dumps) | st.text(st.characters(exclude_categories=["Cs"]))))
def test_any_line_of_json_is_read_or_named(tmp_path, rows):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf8", newline="\n")
    _read_or_named(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=300), end=st.sampled_from([".txt", ".jsonl", ".txt.gz", ".txt.xz", ".txt.zst"])
)
def test_any_bytes_are_read_or_refused(tmp_path, data, end):
    path = tmp_path / f"a{end}"
    path.write_bytes(data)
    _read_or_named(path)


def test_a_line_that_must_be_whole_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MAX_LINE_CHARS", 10)
    monkeypatch.setattr(text_files, "LONGEST_WHOLE", 1000)
    monkeypatch.setattr(text_files, "CHUNK", 64)
    (tmp_path / "a.txt").write_text("a" * 900 + "\n" + "b" * 1100)
    lines = read_lines(tmp_path / "a.txt", whole=True)
    assert next(lines) == "a" * 900
    with pytest.raises(CorpusError, match="line 2 is longer than"):
        next(lines)
    assert max(map(len, read_lines(tmp_path / "a.txt"))) == 10


# zstd


@settings(max_examples=50, deadline=None)
@given(
    parts=st.lists(st.tuples(st.binary(max_size=200), st.integers(0, 3000)), max_size=4),
    checksum=st.booleans(),
    size=st.booleans(),
    data=st.data(),
)
def test_frames_are_read_whole_or_refused(parts, checksum, size, data):
    zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed")
    packer = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=size)
    skipped = b"\x53\x2a\x4d\x18\x03\0\0\0abc"
    whole = b"".join(part * times for part, times in parts)
    frames = [packer.compress(part * times) for part, times in parts]
    packed = skipped + skipped.join(frames)
    assert b"".join(zstd.unpacked(BytesIO(packed))) == whole
    cut = BytesIO(packed[: data.draw(st.integers(0, len(packed)))])
    with suppress(OSError, EOFError):
        assert whole.startswith(b"".join(zstd.unpacked(cut)))  # cut between two frames


MEASURED = """
import resource, sys
from pathlib import Path
from spacy_elmo.pretraining.data.text_files import read_lines

path = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(map(len, read_lines(path))), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("line", ["我" * 30 + "。\n", "我" * 30 + "。"], ids=["lines", "one line"])
def test_memory_does_not_grow_with_what_is_packed(tmp_path, line):
    zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed")
    packer = zstandard.ZstdCompressor().compressobj()
    piece, n = line.encode() * 5000, 300
    with (tmp_path / "a.txt.zst").open("wb") as file:
        for _ in range(n):
            file.write(packer.compress(piece))
        file.write(packer.flush())
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "a.txt.zst")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    characters, grown = map(int, done.stdout.split())
    assert characters == 31 * 5000 * n
    assert len(piece) * n > 2**27
    assert grown < 40  # MiB; the window alone is 2 to 8

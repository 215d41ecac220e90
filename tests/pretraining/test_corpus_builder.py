"""Making a corpus: the same bytes whatever the number of jobs and however often it was killed."""

import gzip
import json
import lzma
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.errors import CorpusError
from spacy_elmo.pretraining.data import corpus_builder
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.corpus_builder import SegmentationSettings, build_corpus, write_corpus
from spacy_elmo.pretraining.data.deduplication import LineDeduplicator
from spacy_elmo.pretraining.data.text_files import ReadStats, iter_blocks

from .helpers import CORPUS_SETTINGS, cyclic_text

TEXT = cyclic_text(400) + cyclic_text(100)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def text_of(corpus: Corpus) -> list[str]:
    names = [unit for unit, _ in corpus.counts()]
    return ["".join(names[rank] for rank in corpus[i]) for i in range(len(corpus))]


@pytest.fixture
def text(tmp_path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf8")
    return tmp_path / "text.txt"


def build(text: Path, output: Path, **options) -> dict:
    return build_corpus(
        [text], output, SegmentationSettings(max_sentence_length=20), **{"block": 500, **options}
    )


def test_what_is_read_comes_back(text, tmp_path):
    manifest = build(text, tmp_path / "corpus")
    assert text_of(Corpus(tmp_path / "corpus")) == TEXT.split()
    assert len(manifest["shards"]) > 3
    assert manifest["text"] == {
        "characters": len("".join(TEXT.split())),
        "lines": 500,
        "invalid_bytes": 0,
        "duplicate_lines": 0,
    }
    assert sorted(os.listdir(tmp_path)) == ["corpus", "text.txt"]


def test_any_number_of_jobs_gives_the_same_bytes(text, tmp_path):
    for jobs in (1, 2):
        build(text, tmp_path / f"corpus{jobs}", n_process=jobs)
    assert files_of(tmp_path / "corpus1") == files_of(tmp_path / "corpus2")


KILLED = """
import os, signal
from pathlib import Path
from spacy_elmo.pretraining.data import corpus_builder

calls, original = [], corpus_builder.{name}

def killing(*args, **kwargs):
    calls.append(args)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)

corpus_builder.{name} = killing
cut = corpus_builder.SegmentationSettings(max_sentence_length=20)
corpus_builder.build_corpus([Path({text!r})], Path({output!r}), cut, block=500)
"""


@pytest.mark.parametrize(
    ("name", "call", "parts"),
    [("process_block", 3, 2), ("_write_shard", 2, 8)],
    ids=["while text is cut", "while shards are written"],
)
def test_a_run_that_was_killed_goes_on(text, tmp_path, monkeypatch, name, call, parts):
    whole = build(text, tmp_path / "whole")
    code = KILLED.format(name=name, call=call, text=str(text), output=str(tmp_path / "corpus"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "corpus").exists()
    kept = len(list((tmp_path / ".corpus.partial").iterdir()))
    assert kept == parts <= len(whole["shards"]) == 8
    cut, made = corpus_builder.process_block, []
    monkeypatch.setattr(corpus_builder, "process_block", lambda *call: made.append(call) or cut(*call))
    build(text, tmp_path / "corpus")
    assert len(made) == len(whole["shards"]) - kept  # what was finished is not made again
    assert files_of(tmp_path / "corpus") == files_of(tmp_path / "whole")
    assert not (tmp_path / ".corpus.partial").exists()


@pytest.mark.parametrize("size", [0, 7, -1], ids=["empty", "header", "truncated"])
def test_a_damaged_part_is_made_again(text, tmp_path, size):
    build(text, tmp_path / "whole")
    with pytest.raises(CorpusError, match="lower --min-count"):
        build(text, tmp_path / "corpus", min_count=100_000)
    part = min((tmp_path / ".corpus.partial").iterdir())
    part.write_bytes(part.read_bytes()[:size])
    build(text, tmp_path / "corpus")
    assert files_of(tmp_path / "corpus") == files_of(tmp_path / "whole")
    assert not (tmp_path / ".corpus.partial").exists()


def test_parts_of_another_cut_are_not_taken(text, tmp_path, monkeypatch):
    monkeypatch.setattr(
        corpus_builder, "_assemble", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        build_corpus([text], tmp_path / "corpus", SegmentationSettings(max_sentence_length=5), block=500)
    monkeypatch.undo()
    build(text, tmp_path / "corpus")
    build(text, tmp_path / "other")
    assert files_of(tmp_path / "corpus") == files_of(tmp_path / "other")


def test_a_text_that_was_mended_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_elmo.pretraining.data.text_files.DEDUP_BATCH", 10)
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf8")
    (tmp_path / "b.jsonl").write_text('{"text": "好。"}\n{"txt": "好。"}\n', encoding="utf8")
    inputs = [tmp_path / "a.txt", tmp_path / "b.jsonl"]
    with pytest.raises(CorpusError, match="line 2 is not a JSON object"):
        build_corpus(inputs, tmp_path / "corpus", SegmentationSettings(), block=500)
    assert list((tmp_path / ".corpus.partial").iterdir())
    (tmp_path / "b.jsonl").write_text('{"text": "好。"}\n{"text": "好。"}\n', encoding="utf8")
    manifest = build_corpus(inputs, tmp_path / "corpus", SegmentationSettings(), block=500)
    assert manifest["sentences"] == 502
    assert not (tmp_path / ".corpus.partial").exists()


def test_duplicate_lines(tmp_path):
    (tmp_path / "a.txt").write_text("你好。\n再见！\n\n\n  你好。 \n你好\n再见！\n", encoding="utf8")
    (tmp_path / "b.jsonl").write_text('{"text": "再见！\\n狗。"}\n', encoding="utf8")
    manifest = build_corpus(
        [tmp_path / "a.txt", tmp_path / "b.jsonl"], tmp_path / "c", SegmentationSettings(), dedup=True
    )
    assert text_of(Corpus(tmp_path / "c")) == ["你好。", "再见！", "你好", "狗。"]
    assert manifest["text"]["duplicate_lines"] == 3
    assert manifest["text"]["lines"] == 7


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.text("甲乙丙", max_size=3), max_size=8), max_size=12))
def test_the_first_of_equal_lines_is_kept(groups):
    seen, known, found = LineDeduplicator(), dict.fromkeys([]), []
    for group in groups:
        found += seen.first(group)
        known |= dict.fromkeys(group)
    assert found == list(known)


def test_invalid_bytes_are_counted(tmp_path):
    good = ("我爱北京。\n" * 50).encode()
    (tmp_path / "a.txt").write_bytes(good + b"\xff\xfe" + "狗。\n".encode() + "好".encode()[:2])
    manifest = build_corpus([tmp_path / "a.txt"], tmp_path / "corpus", SegmentationSettings())
    assert manifest["text"]["invalid_bytes"] == 4
    assert text_of(Corpus(tmp_path / "corpus"))[-2:] == ["\ufffd\ufffd狗。", "\ufffd\ufffd"]
    (tmp_path / "b.txt").write_bytes(good + ("你好。" * 50).encode("gb18030"))
    with pytest.raises(CorpusError, match=r"line 51 is not UTF-8 .*GB18030"):
        build_corpus([tmp_path / "b.txt"], tmp_path / "other", SegmentationSettings())


@pytest.mark.parametrize("pack", [".gz", ".xz", ".zst"])
def test_packed_text(tmp_path, pack):
    data = TEXT.encode()
    if pack == ".zst":
        zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed")
        half = len(data) // 2  # two frames in one file, as parallel packers write them
        data = b"".join(zstandard.compress(x) for x in (data[:half], data[half:]))
    else:
        data = {".gz": gzip.compress, ".xz": lzma.compress}[pack](data)
    path = tmp_path / f"text.txt{pack}"
    path.write_bytes(data)
    build(path, tmp_path / "corpus")
    assert text_of(Corpus(tmp_path / "corpus")) == TEXT.split()
    for broken, message in ((data[:-7], "cannot be read"), (b"nonsense", "cannot be read")):
        path.write_bytes(broken)
        with pytest.raises(CorpusError, match=message):
            build(path, tmp_path / "other")


def test_a_line_without_end_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_elmo.pretraining.data.text_files.MAX_LINE_CHARS", 100)
    monkeypatch.setattr("spacy_elmo.pretraining.data.text_files.CHUNK", 64)
    text = "我爱北京。" * 200 + "无" * 500
    (tmp_path / "a.txt").write_text(text, encoding="utf8")
    found = "\n".join(iter_blocks([tmp_path / "a.txt"], ReadStats())).split("\n")
    assert "".join(found) == text
    assert max(map(len, found)) <= 100
    assert all(line.endswith("。") for line in found if "无" not in line)


# the vocabulary


def test_minimum_count_and_cap(tmp_path):
    sentences = [["丙"], *[["甲", "乙"]] * 3, ["丁", "丙"], ["戊"]]
    for options, units in (
        ({}, ["甲", "乙", "丙", "丁", "戊"]),
        ({"min_count": 2}, ["甲", "乙", "丙"]),
        ({"max_vocab": 2}, ["甲", "乙"]),
        ({"min_count": 2, "max_vocab": 1}, ["甲"]),
    ):
        manifest = write_corpus(tmp_path / "corpus", sentences, settings=CORPUS_SETTINGS, **options)
        corpus = Corpus(tmp_path / "corpus")
        assert [unit for unit, _ in corpus.counts()] == units
        assert manifest["distinct"] == 5
        assert manifest["types"] == len(units)
        assert manifest["unlisted_tokens"] == manifest["tokens"] - sum(n for _, n in corpus.counts())
        names = [*units, None]
        known = [[unit if unit in units else None for unit in s] for s in sentences]
        assert [[names[rank] for rank in corpus[i]] for i in range(len(corpus))] == known
    with pytest.raises(CorpusError, match="lower --min-count"):
        write_corpus(tmp_path / "corpus", sentences, settings=CORPUS_SETTINGS, min_count=9)


words = st.lists(st.lists(st.text("甲乙丙丁", min_size=1, max_size=3), min_size=1, max_size=6), min_size=1)


@settings(max_examples=40, deadline=None)
@given(words, st.integers(1, 9), st.integers(1, 20))
def test_counting_in_groups_changes_nothing(tmp_path_factory, sentences, cap, at_once):
    folder = tmp_path_factory.mktemp("counted")
    write_corpus(folder / "a", sentences, settings=CORPUS_SETTINGS, shard_units=5, max_vocab=cap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spacy_elmo.pretraining.data.corpus_parts.MAX_TYPES_IN_MEMORY", at_once)
        write_corpus(folder / "b", sentences, settings=CORPUS_SETTINGS, shard_units=5, max_vocab=cap)
    assert files_of(folder / "a") == files_of(folder / "b")


# damage


def test_checksums_are_verified(text, tmp_path):
    build(text, tmp_path / "corpus")
    corpus = Corpus(tmp_path / "corpus")
    corpus.verify()
    path = tmp_path / "corpus" / "shard-00001.ids.npy"
    ids = np.load(path)
    ids[3] += 1
    np.save(path, ids)
    with pytest.raises(CorpusError, match=r"shard-00001.ids.npy is damaged: make the corpus again"):
        Corpus(tmp_path / "corpus").verify()


def test_counts_of_another_corpus(text, tmp_path):
    build(text, tmp_path / "corpus")
    units = tmp_path / "corpus" / "vocab_counts.tsv"
    units.write_bytes(units.read_bytes().replace("甲".encode(), "乾".encode()))
    with pytest.raises(CorpusError, match=r"vocab_counts.tsv is damaged"):
        Corpus(tmp_path / "corpus").counts()


def test_a_segmenter_that_fails(text, tmp_path, monkeypatch):
    segmenter = corpus_builder.Segmenter(lambda sentence: 1 // 0, "scissors")
    monkeypatch.setattr(corpus_builder.SegmentationSettings, "segment", lambda self: segmenter)
    with pytest.raises(CorpusError, match='segmenter "scissors" failed on this text'):
        build(text, tmp_path / "corpus")
    assert sorted(os.listdir(tmp_path)) == ["text.txt"]


def test_what_a_corpus_records(text, tmp_path):
    build_corpus([text], tmp_path / "corpus", SegmentationSettings(units="word", lang="en"))
    manifest = json.loads((tmp_path / "corpus" / "manifest.json").read_bytes())
    assert (manifest["units"], manifest["segmenter"], manifest["lang"]) == ("word", "Tokenizer", "en")
    assert "spacy" in manifest["versions"]

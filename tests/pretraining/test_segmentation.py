"""Segments of text that `spacy elmo corpus` reads."""

import gzip
import json
import lzma
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from thread_helpers import switch_often

from spacy_elmo.errors import CorpusError
from spacy_elmo.pretraining.data import corpus_builder
from spacy_elmo.pretraining.data.segmentation import make_segmenter, sentences
from spacy_elmo.pretraining.data.text_files import find_files, read_lines
from spacy_elmo.text import normalize

TEXT = "你好。\n再见！\n"


def lines(path: Path) -> list[str]:
    return [line.strip() for line in read_lines(path)]


@pytest.mark.parametrize("pack", ["", ".gz", ".xz"])
@pytest.mark.parametrize("kind", [".txt", ".jsonl", ".csv"])
def test_kinds_of_files(tmp_path, kind, pack):
    text = (
        "".join(json.dumps({"text": t, "id": 1}) + "\n" for t in TEXT.split()) if kind == ".jsonl" else TEXT
    )
    path = tmp_path / f"text{kind}{pack}"
    path.write_bytes({"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[pack](text.encode()))
    assert lines(path) == ["你好。", "再见！"]


@pytest.mark.parametrize("text", ["\ufeff你好。\n再见！\n", "你好。\r\n再见！", "你好。\n再见！"])
def test_byte_order_marks_and_line_ends(tmp_path, text):
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert lines(tmp_path / "a.txt") == ["你好。", "再见！"]


def test_a_byte_order_mark_in_jsonl_and_empty_lines(tmp_path):
    (tmp_path / "a.jsonl").write_bytes('\ufeff{"text": "你\\n好"}\n\n  \n{"text": ""}\n'.encode())
    assert list(read_lines(tmp_path / "a.jsonl")) == ["你\n好", "", "", ""]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", "好\n".encode() + "你好。\n".encode("gb18030"), "line 2 is not UTF-8 .*GB18030"),
        ("a.txt", "你好".encode("utf-16"), r"is UTF-16 \(by its first bytes\): convert"),
        ("a.txt", "你好".encode()[:-1], "line 1 is not UTF-8"),
        ("a.txt.gz", gzip.compress("好\n".encode() + b"\xff\n"), "line 2 is not UTF-8 .byte 0xff"),
        ("a.txt.gz", gzip.compress(TEXT.encode())[:-9], "cannot be read"),
        ("a.txt.gz", b"no gzip at all", "cannot be read"),
        ("a.txt.gz", gzip.compress(b"")[:10] + b"\xff" * 30, "cannot be read"),
        ("a.txt.xz", lzma.compress(TEXT.encode())[:-9], "cannot be read"),
        ("a.txt.xz", b"no xz at all", "cannot be read"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', 'line 2 is not a JSON object with a "text"'),
        ("a.jsonl", b'{"content": "a"}\n', "line 1 is not a JSON object"),
        ("a.jsonl", b'["a"]\n', "line 1 is not a JSON object"),
        ("a.jsonl", b'"a"\n', "line 1 is not a JSON object"),
        ("a.jsonl", b'{"text": null}\n', 'The "text" of .*, line 1 is null'),
        ("a.jsonl", b'{"text": 5}\n', 'The "text" of .*, line 1 is not a string'),
        ("a.jsonl", b'{"text": ["a"]}\n', 'The "text" of .*, line 1 is not a string'),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "line 1 has half of a surrogate pair"),
        ("a.jsonl", b'{"text": "a", "n": ' + b"1" * 5000 + b"}\n", "line 1 is not a JSON object"),
    ],
)
def test_damaged_files_are_one_sentence_with_the_place(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=message) as caught:
        list(read_lines(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_what_is_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.txt"):
        with pytest.raises(CorpusError, match="cannot be read: "):
            list(read_lines(path))


def test_files_of_folders(tmp_path):
    for name in ("b.txt", "a.jsonl", "sub/c.txt.gz", "sub/d.jsonl.xz", "no.md", "sub/no.gz", "single.dat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.txt").mkdir()
    found = [str(p.relative_to(tmp_path)) for p in find_files([tmp_path])]
    assert found == ["a.jsonl", "b.txt", "sub/c.txt.gz", "sub/d.jsonl.xz"]
    both = [tmp_path / "single.dat", tmp_path / "b.txt"]
    assert find_files(both) == both  # named files are read whatever they are called


def test_inputs_without_text(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="empty holds no text"):
        find_files([tmp_path / "empty"])
    with pytest.raises(CorpusError, match=r"text .*nowhere does not exist"):
        find_files([tmp_path / "nowhere"])


def test_sentences_are_cut_evenly_at_the_limit():
    segment = make_segmenter("char", "char", "zh")
    found = list(sentences("我爱北京天安门。你好！", segment, 5))
    assert ["".join(s) for s in found] == ["我爱北京", "天安门。", "你好！"]
    assert list(sentences("  \n ", segment, 5)) == []


@given(st.text("我爱北京。！\n 　a1１Ａ，", max_size=40), st.integers(1, 9))
def test_sentences_keep_every_character(text, limit):
    found = list(sentences(text, make_segmenter("char", "char", "zh"), limit))
    assert "".join("".join(s) for s in found).replace(" ", "") == "".join(normalize(text).split())
    assert all(0 < len(s) <= limit for s in found)


def test_words_are_spacys_tokens():
    assert make_segmenter("word", "char", "en")("I don't, １９９８") == ["I", "do", "n't", ",", "1998"]
    assert make_segmenter("word", "char", "en", fold_fullwidth=False)("１９") == ["１９"]
    assert make_segmenter("word", "char", "zh")("我 爱ＷＴＯ") == ["我", "爱", "W", "T", "O"]
    assert make_segmenter("char", "jieba", "zh")("我 爱ＷＴＯ") == ["我", "爱", "W", "T", "O"]


@pytest.mark.parametrize(("segmenter", "lang"), [("scissors", "zh"), ("char", "nolanguage")])
def test_a_segmenter_that_does_not_start(segmenter, lang):
    with pytest.raises(CorpusError, match=f'segmenter "{segmenter}" of "{lang}" cannot be loaded') as caught:
        make_segmenter("word", segmenter, lang)
    assert "\n" not in str(caught.value)


# Text that is ambiguous ("南京市长江大桥", "研究生命起源"), unknown, not Chinese, and between words
AMBIGUOUS = "我爱北京天安门在清华大学研究生命起源南市长江桥龘𠀀。！\n 　a1１Ａ.+-%"


@settings(deadline=None, max_examples=300)  # jieba reads its dictionary at the first call
@given(st.text(AMBIGUOUS, max_size=40))
def test_jiebas_words_are_those_of_spacys_tokenizer(text):
    pytest.importorskip("jieba")
    expected = [normalize(token.text) for token in _jieba_tokenizer()(text) if not token.is_space]
    assert make_segmenter("word", "jieba", "zh")(text) == expected


@cache
def _jieba_tokenizer():
    return spacy.blank("zh", config={"nlp": {"tokenizer": {"segmenter": "jieba"}}}).tokenizer


@settings(deadline=None)
@given(st.text(AMBIGUOUS, max_size=40))
def test_a_pipelines_jieba_cuts_without_spacy_around_it(text):
    pytest.importorskip("jieba")
    segmenter = _segmenter_of_a_pipeline()
    expected = [normalize(token.text) for token in _jieba_tokenizer()(text) if not token.is_space]
    assert segmenter(text) == expected
    assert segmenter.memory_zone is nullcontext  # no vocabulary that would keep the words


@cache
def _segmenter_of_a_pipeline():
    with TemporaryDirectory() as folder:
        spacy.blank("zh", config={"nlp": {"tokenizer": {"segmenter": "jieba"}}}).to_disk(folder)
        return make_segmenter("word", folder, "zh")


def test_jieba_keeps_the_words_that_it_was_taught():
    jieba = pytest.importorskip("jieba")
    segmenter = make_segmenter("word", "jieba", "zh")
    jieba.add_word("天安门在清", 10**6)
    try:
        assert segmenter("爱天安门在清华")[1] == "天安门在清"
    finally:
        jieba.del_word("天安门在清")


def test_jieba_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", None)
    monkeypatch.delitem(sys.modules, "spacy_elmo.pretraining.data.fast_jieba", raising=False)
    with pytest.raises(CorpusError, match='segmenter "jieba" cannot be loaded'):
        make_segmenter("word", "jieba", "zh")


def test_threads_load_a_segmenter_once(monkeypatch):
    loaded, gate = [], threading.Barrier(8)

    def load(*what, **settings):
        for _ in range(2_000_000):  # long enough for the others to come in between
            pass
        loaded.append(object())
        return loaded[-1]

    monkeypatch.setattr(corpus_builder, "make_segmenter", load)
    cut = corpus_builder.SegmentationSettings(lang="thread test")

    def work(_):
        gate.wait()
        return cut.segment()

    with switch_often(), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert len(loaded) == 1
    assert all(each is loaded[0] for each in found)
    assert corpus_builder.SegmentationSettings(lang="another").segment() is loaded[1]

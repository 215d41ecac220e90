"""From lines of word/TAG to .spacy files and raw text."""

import pytest
from convert import (
    CLOSING,
    ENTITIES,
    FINAL,
    ConvertError,
    convert,
    entities,
    is_heading,
    parse_line,
    sample,
    split_blocks,
    split_sentences,
)
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_elmo.text import normalize

TAGS = ["n", "v", "w", "nr", "ns", "nt", "t", "vn", "Ng"]
# Any character that str.split() does not take for white space, the slash included.
words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=4).filter(
    lambda word: word.split() == [word]
)
tagged = st.tuples(words | st.sampled_from(["。", "！", "”", "（", "…"]), st.sampled_from(TAGS))
lines = st.lists(tagged, min_size=1, max_size=30)


def read(path):
    return list(DocBin().from_disk(path).get_docs(Vocab()))


# --- One line ---


@given(lines)
def test_parsing_gives_back_normalised_words_and_tags(line):
    text = "  ".join(f"{word}/{tag}" for word, tag in line)
    assert parse_line(text) == [(normalize(word), tag) for word, tag in line]


def test_full_width_letters_and_digits_are_folded_and_nothing_else():
    assert parse_line("１９９８年/t  ，/w ＡＢＣ/nx １．７/m") == [
        ("1998年", "t"),
        ("，", "w"),
        ("ABC", "nx"),
        ("1．7", "m"),
    ]


@pytest.mark.parametrize("item", ["你好", "/n", "你好/", "你好/名", "[中央/n]nt"])
def test_an_item_that_is_not_word_and_tag(item):
    with pytest.raises(ValueError, match="not of the form word/TAG"):
        parse_line(f"我/r  {item}")


@given(lines)
def test_sentences_cover_the_line_and_end_at_final_punctuation(line):
    sentences = split_sentences(line)
    assert [word for sentence in sentences for word in sentence] == line
    for sentence in sentences:
        texts = [word for word, _ in sentence]
        finals = [i for i, word in enumerate(texts) if word in FINAL]
        # after the first final sign there is nothing but more of them and closing signs
        assert not finals or all(word in FINAL | CLOSING for word in texts[finals[0] :])
    assert all(any(word in FINAL for word, _ in sentence) for sentence in sentences[:-1])


def test_closing_quotes_belong_to_the_sentence():
    line = parse_line("“/w 好/a ！/w ”/w 他/r 说/v 。/w 走/v 了/u")
    assert ["".join(w for w, _ in s) for s in split_sentences(line)] == ["“好！”", "他说。", "走了"]


# --- Entities ---


@given(lines)
def test_entities_cover_exactly_the_words_of_their_tags(line):
    spans = entities(line)
    assert spans == sorted(spans)
    covered = [i for start, end, _ in spans for i in range(start, end)]
    assert covered == [i for i, (_, tag) in enumerate(line) if tag in ENTITIES]
    for start, end, label in spans:
        (tag,) = {tag for _, tag in line[start:end]}
        assert ENTITIES[tag][0] == label
        if ENTITIES[tag][1]:  # a run is never cut
            assert line[start - 1 : start] == [] or line[start - 1][1] != tag
            assert line[end : end + 1] == [] or line[end][1] != tag
        else:
            assert end == start + 1


def test_what_is_one_entity():
    line = parse_line("江/nr 泽民/nr １２月/t ３１日/t 在/p 河北省/ns 张家口/ns 党中央/nt 国务院/nt")
    assert [("".join(w for w, _ in line[a:b]), label) for a, b, label in entities(line)] == [
        ("江泽民", "PER"),
        ("12月31日", "TIME"),
        ("河北省", "LOC"),
        ("张家口", "LOC"),
        ("党中央", "ORG"),
        ("国务院", "ORG"),
    ]


# --- Parts ---


@given(st.lists(lines, min_size=10, max_size=60))
def test_blocks_are_contiguous_and_lose_nothing(corpus):
    blocks = split_blocks(corpus)
    assert list(blocks) == ["train", "dev", "test"]
    assert [line for block in blocks.values() for line in block] == corpus
    assert all(blocks.values())
    assert len(blocks["train"]) >= round(0.8 * len(corpus))


def test_a_cut_moves_to_the_next_heading():
    text, heading = [("好", "a"), ("。", "w")], [("题", "n")]
    corpus = [text] * 100
    corpus[82] = heading
    corpus[83] = heading
    blocks = split_blocks(corpus)
    assert len(blocks["train"]) == 82
    assert is_heading(blocks["dev"][0])
    assert len(blocks["dev"]) == 8  # no heading near: the cut is at nine tenths


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_smaller_sample_is_part_of_a_larger_one(a, b):
    sentences = [[(str(i), "n")] for i in range(40)]
    small, large = sorted([a, b])
    smaller, larger = sample(sentences, small), sample(sentences, large)
    assert len(smaller) == small
    assert [s for s in larger if s in smaller] == smaller
    assert larger == sorted(larger, key=lambda s: int(s[0][0]))


# --- Files ---


@pytest.fixture
def corpus(tmp_path):
    """100 lines whose first word tells the line."""
    path = tmp_path / "tagged.txt"
    line = "第{}号/m  江/nr  泽民/nr  １月/t  到/v  北京/ns  。/w  “/w  好/a  ！/w  ”/w"
    path.write_text("\n".join(line.format(i) for i in range(100)) + "\n", encoding="utf8")
    return path


def test_files(corpus, tmp_path):
    out = tmp_path / "corpus"
    counts = convert(corpus, out, n_train=5, n_dev=3)
    assert sorted(path.name for path in out.iterdir()) == [
        "dev.spacy",
        "dev_sample.spacy",
        "raw_dev.txt",
        "raw_test.txt",
        "raw_train.txt",
        "test.spacy",
        "train.spacy",
        "train_5.spacy",
    ]
    assert {part: count.sentences for part, count in counts.items()} == {
        "train": 160,
        "dev": 20,
        "test": 20,
        "train_5": 5,
        "dev_sample": 3,
    }
    assert counts["train"].unknown == 0.0
    assert counts["test"].unknown == pytest.approx(10 / 110)  # 第90号 and so on

    doc = read(out / "train.spacy")[0]
    assert doc.text == "第0号江泽民1月到北京。"
    assert [token.tag_ for token in doc] == ["m", "nr", "nr", "t", "v", "ns", "w"]
    assert [(ent.text, ent.label_) for ent in doc.ents] == [
        ("江泽民", "PER"),
        ("1月", "TIME"),
        ("北京", "LOC"),
    ]


def test_nothing_leaks_from_one_part_into_another(corpus, tmp_path):
    """The raw text and the sentences of a part come from its own lines, the samples from their part."""
    convert(corpus, tmp_path, n_train=5, n_dev=3)
    expected = {"train": range(80), "dev": range(80, 90), "test": range(90, 100)}
    for part, numbers in expected.items():
        docs = read(tmp_path / f"{part}.spacy")
        assert [doc[0].text for doc in docs if doc[0].text != "“"] == [f"第{i}号" for i in numbers]
        text = (tmp_path / f"raw_{part}.txt").read_text(encoding="utf8")
        assert text.split("\n") == [f"第{i}号江泽民1月到北京。“好！”" for i in numbers] + [""]
    train = {doc.text for doc in read(tmp_path / "train.spacy")}
    assert {doc.text for doc in read(tmp_path / "train_5.spacy")} <= train
    dev = {doc.text for doc in read(tmp_path / "dev.spacy")}
    assert {doc.text for doc in read(tmp_path / "dev_sample.spacy")} <= dev


def test_the_same_bytes_each_time(corpus, tmp_path):
    convert(corpus, tmp_path / "a", n_train=5, n_dev=3)
    convert(corpus, tmp_path / "b", n_train=5, n_dev=3)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "too few"),
        (b"\n \n", "too few"),
        ("我/r\n".encode("gb18030"), "not UTF-8"),
        ("我/r\n你好\n".encode(), "line 2: '你好' is not of the form word/TAG"),
    ],
)
def test_a_bad_corpus_is_one_sentence_and_writes_nothing(content, message, tmp_path):
    source = tmp_path / "tagged.txt"
    source.write_bytes(content)
    with pytest.raises(ConvertError, match=message) as error:
        convert(source, tmp_path / "out", n_train=1, n_dev=1)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_more_sentences_than_there_are(corpus, tmp_path):
    with pytest.raises(ConvertError, match="there are 160"):
        convert(corpus, tmp_path / "out", n_train=161, n_dev=1)
    with pytest.raises(ConvertError, match="cannot be read"):
        convert(tmp_path / "missing.txt", tmp_path / "out", n_train=1, n_dev=1)
    assert not (tmp_path / "out").exists()

"""From characters with BMES labels to .spacy files."""

import pytest
from convert import ConvertError
from convert_bmes import docs_bytes, entities, main, parse_row, read_sentences
from spacy.tokens import DocBin
from spacy.vocab import Vocab

TEXT = "张 B-NAME\n三 E-NAME\n， O\n京 S-LOC\n\n１ O\n"


def test_sentences_characters_and_entities(tmp_path):
    path = tmp_path / "train.char.bmes"
    path.write_text(TEXT, encoding="utf8")
    data, n_sentences, n_entities = docs_bytes(read_sentences(path))
    first, second = DocBin().from_bytes(data).get_docs(Vocab())
    assert (n_sentences, n_entities) == (2, 2)
    assert [(e.text, e.label_) for e in first.ents] == [("张三", "NAME"), ("京", "LOC")]
    assert [len(token) for token in first] == [1] * 4
    assert second.text == "1"


def test_raw_text_has_a_line_for_each_sentence(tmp_path):
    path = tmp_path / "train.char.bmes"
    path.write_text(TEXT, encoding="utf8")
    main([path], tmp_path)
    assert (tmp_path / "train.spacy").is_file()
    assert (tmp_path / "train.txt").read_text(encoding="utf8") == "张三，京\n1\n"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("B-A M-A E-A", [(0, 3, "A")]),
        ("S-A S-A", [(0, 1, "A"), (1, 2, "A")]),
        ("B-A E-A E-A", [(0, 2, "A"), (2, 3, "A")]),
        ("M-A E-A O", [(0, 2, "A")]),
        ("B-A E-B", [(0, 1, "A"), (1, 2, "B")]),
        ("B-A B-A", [(0, 1, "A"), (1, 2, "A")]),
    ],
)
def test_labels_that_are_wrong_cost_no_entity(labels, expected):
    assert entities(labels.split()) == expected


@pytest.mark.parametrize("line", ["张", "张 X-NAME", "张 B-", " O"])
def test_a_line_of_another_form(line):
    with pytest.raises(ConvertError, match="line 3"):
        parse_row(line, "line 3")

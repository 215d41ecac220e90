"""Units to ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo.errors import ElmoError
from spacy_elmo.modeling.vocab import (
    BOS,
    BOW,
    CHAR_BOS,
    CHAR_EOS,
    CHAR_PAD,
    CHAR_UNK,
    EOS,
    EOW,
    SPECIALS,
    UNK,
    Vocab,
    special_character_ids,
)

units = st.lists(
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1), unique=True
)


def test_ids_stand_behind_the_specials():
    vocab = Vocab(["的", "WTO"])
    assert len(vocab) == 6
    assert vocab.ids(["的", "ＷＴＯ", "未知"]).tolist() == [BOS, 4, 5, UNK, EOS]
    assert vocab.ids([]).tolist() == [BOS, EOS]
    assert "ＷＴＯ" in vocab
    assert "未知" not in vocab
    assert Vocab(["WTO"], fold_fullwidth=False).id("ＷＴＯ") == UNK


@given(units)
def test_every_unit_has_an_id_of_its_own(units):
    vocab = Vocab(units, fold_fullwidth=False)
    assert [vocab.id(unit) for unit in units] == list(range(len(SPECIALS), len(vocab)))
    assert vocab.ids(units)[1:-1].tolist() == list(range(len(SPECIALS), len(vocab)))


@pytest.mark.parametrize("special", SPECIALS)
def test_text_that_looks_like_a_special_is_text(special):
    assert Vocab(["的"]).ids([special]).tolist() == [BOS, UNK, EOS]
    assert Vocab([special]).id(special) == 4


def test_characters():
    vocab = Vocab(["北京"], ["北", "京"])
    rows = vocab.character_ids(["北京", "京人", "北京北京北", ""], 4)
    assert rows.tolist() == [
        [BOW, 6, 7, EOW, CHAR_PAD, CHAR_PAD],
        [BOW, 7, CHAR_UNK, EOW, CHAR_PAD, CHAR_PAD],
        [BOW, 6, 7, 6, 7, EOW],
        [BOW, EOW] + [CHAR_PAD] * 4,
    ]
    assert vocab.n_characters == 8
    assert vocab.character_ids([], 4).shape == (0, 6)


def test_specials_in_characters():
    rows = special_character_ids(3)
    assert rows.shape == (4, 5)
    assert not rows[0].any()
    assert rows[BOS, 1] == CHAR_BOS
    assert rows[EOS, 1] == CHAR_EOS
    assert len(np.unique(rows, axis=0)) == 4


@pytest.mark.parametrize("lists", [(["a", "a"],), (["a"], ["b", "b"]), (["a\nb"],), (["a"], ["\n"])])
def test_what_no_file_can_hold_is_refused(lists):
    with pytest.raises(ElmoError, match="vocabulary"):
        Vocab(*lists)


def test_units_are_cut_before_they_are_looked_up():
    vocab = Vocab(["abc", "abcd"], max_length=3)
    assert [vocab.id(unit) for unit in ("abc", "abcx", "abcd", "ab")] == [4, 4, 4, UNK]
    assert vocab.ids(["abcx", "ab"]).tolist() == [BOS, 4, UNK, EOS]


@given(st.text(max_size=20))
def test_units_in_bytes(unit):
    vocab = Vocab([], fold_fullwidth=False, uses_bytes=True)
    assert vocab.n_characters == 6 + 256
    row = vocab.character_ids([unit], 12)[0].tolist()
    data = unit.encode("utf8", "ignore")[:12]
    assert row == [2, *(6 + byte for byte in data), 3] + [0] * (12 - len(data))

"""Static vectors: a token's own row, or its pieces'; on disk in 8 bits; in damaged folders."""

import copy
import json
import pickle
from hashlib import sha256

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo.errors import ConfigError, ElmoError
from spacy_elmo.inference import loading
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.static_vectors import StaticVectors, normalize_rms
from spacy_elmo.modeling.vocab import Vocab

STRINGS = ["我", "爱", "北", "京", "北京", "天安", "1", "99", "我爱北京"]
SIZES = {"projection_dim": 6, "hidden_size": 10, "static_dim": 5}


def make(strings=STRINGS, **settings) -> BiLM:
    torch.manual_seed(0)
    config = BiLMConfig(**SIZES, n_static_vectors=len(strings), **settings)
    bilm = BiLM(config, Vocab("我爱北京天安门", static=strings)).eval()
    bilm.static_vectors = torch.from_numpy(
        normalize_rms(np.random.default_rng(0).normal(size=(len(strings), 5)))
    )
    return bilm


def row(bilm: BiLM, string: str) -> np.ndarray:
    return bilm.static_vectors[STRINGS.index(string)].numpy()


@pytest.mark.parametrize(
    ("token", "pieces"),
    [
        ("北京", ["北京"]),
        ("我爱北京", ["我爱北京"]),
        ("爱北京", ["爱", "北京"]),
        ("京北京", ["京", "北京"]),
        ("天安门", ["天安"]),  # 门 has no vector
        ("门天安", ["天安"]),
        ("１９９", ["1", "99"]),
        ("199", ["1", "99"]),
        ("门", []),
        (" \n", []),
        ("", []),
    ],
)
def test_a_token_is_its_row_or_its_pieces(token, pieces):
    bilm = make()
    (found,) = bilm.static_vectors_of([token])
    if pieces:
        wanted = np.sum([row(bilm, piece) for piece in pieces], 0)
        np.testing.assert_allclose(found, wanted / np.sqrt(np.mean(wanted**2)), rtol=1e-5)
    else:
        assert not found.any()


def test_full_width_stays_where_the_model_keeps_it():
    assert not make(fold_fullwidth=False).static_vectors_of(["１"]).any()
    assert make().static_vectors_of(["１"]).any()


@given(st.lists(st.text("我爱北京天安门1９ \n", max_size=8), max_size=9))
def test_tokens_do_not_depend_on_one_another(tokens):
    bilm = make()
    together = bilm.static_vectors_of(tokens)
    assert together.shape == (len(tokens), 5)
    assert together.dtype == np.float32
    for token, vector in zip(tokens, together, strict=True):
        np.testing.assert_array_equal(bilm.static_vectors_of([token])[0], vector)


@given(st.lists(st.text("我爱北京天安门1９ \n", max_size=8), max_size=9))
def test_numbers_may_stand_for_tokens(tokens):
    bilm, asked = make(), []

    def spelled(number: int) -> str:
        asked.append(number)
        return tokens[number]

    numbers = [tokens.index(token) for token in tokens]
    for _ in range(2):
        np.testing.assert_array_equal(
            bilm.static_vectors_of(numbers, to_string=spelled), bilm.static_vectors_of(tokens)
        )
    assert sorted(asked) == sorted(set(numbers))  # once each


@given(st.lists(st.lists(st.text("我爱北京天安门1９", max_size=3), max_size=4), max_size=6))
def test_what_is_kept_keeps_its_budget_and_changes_nothing(calls):
    bilm = make()
    table = bilm.static_vectors.numpy()
    small = StaticVectors(bilm.vocab.static, table, budget=5 * 4 * table.shape[1])
    for tokens in calls:
        np.testing.assert_array_equal(small.look_up(tokens), make().static_vectors_of(tokens))
        assert len(small.cache) <= max(5, len(set(tokens)))


def test_a_model_that_has_looked_some_up_can_be_copied():
    bilm = make()
    expected = bilm.static_vectors_of(["我爱", "北京"])
    for copied in (copy.deepcopy(bilm), pickle.loads(pickle.dumps(bilm))):
        np.testing.assert_array_equal(copied.static_vectors_of(["我爱", "北京"]), expected)


def test_a_model_without_any():
    bilm = BiLM(BiLMConfig(projection_dim=6, hidden_size=10), Vocab("我爱"))
    assert bilm.static_vectors_of(["我", "爱"]).shape == (2, 0)
    assert bilm.config.static_width == 0
    assert "static_vectors" not in bilm.state_dict()


def test_they_are_not_trained():
    assert "static_vectors" not in dict(make().named_parameters())
    assert "static_vectors" in make().state_dict()


def test_new_vectors_are_seen():
    bilm = make()
    before = bilm.static_vectors_of(["北京"])
    bilm.static_vectors = -bilm.static_vectors
    np.testing.assert_array_equal(bilm.static_vectors_of(["北京"]), -before)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_saved_they_come_back(tmp_path, as_bytes):
    bilm = make()
    bilm.save(tmp_path / "model")
    back = loading.from_bytes(loading.to_bytes(bilm)) if as_bytes else loading.load(tmp_path / "model")
    assert back.vocab.static == STRINGS
    tokens = ["北京", "我", "爱北京"]
    np.testing.assert_array_equal(back.static_vectors_of(tokens), bilm.static_vectors_of(tokens))


def test_eight_bits_on_disk(tmp_path):
    bilm = make()
    with torch.no_grad():
        bilm.static_vectors[2] = 0
        bilm.static_vectors[3] *= 1e-2
    bilm.save(tmp_path / "half", dtype=torch.float16)
    back = loading.load(tmp_path / "half")
    assert back.static_vectors.dtype == torch.int8
    wanted = bilm.static_vectors_of(STRINGS)
    error = np.abs(back.static_vectors_of(STRINGS) - wanted).max(1)
    assert (error <= np.abs(wanted).max(1) / 100).all()
    assert not wanted[2].any()
    assert (tmp_path / "half" / "weights.safetensors").read_bytes().count(b'"I8"') == 1
    back.save(tmp_path / "again", dtype=torch.float16)
    files = [tmp_path / name / "weights.safetensors" for name in ("half", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("token", "pieces"),
    [("cat", ["cat"]), ("catdog", ["cat", "dog"]), ("a", ["a"]), ("ta", []), ("北京", ["京"])],
)
def test_of_words_a_single_letter_is_no_piece(token, pieces):
    strings = ["cat", "dog", "a", "京"]
    bilm = make(strings, units="word")
    (found,) = bilm.static_vectors_of([token])
    rows = bilm.static_vectors.numpy()
    wanted = sum((rows[strings.index(piece)] for piece in pieces), np.zeros(5))
    np.testing.assert_allclose(found, wanted / max(1e-9, np.sqrt(np.mean(wanted**2))), rtol=1e-5)


def test_a_string_for_each_row():
    with pytest.raises(ConfigError, match="n_static_vectors = 3, but the vocabulary lists 1"):
        BiLM(BiLMConfig(**SIZES, n_static_vectors=3), Vocab("我爱", static=["我"]))
    for strings in (["我", "我"], ["我\n爱"]):
        with pytest.raises(ElmoError, match="list each once"):
            Vocab("我爱", static=strings)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (STRINGS[:-1], "n_static_vectors = 9, but the vocabulary lists 8"),
        ([*STRINGS[:-1], "我"], "a string twice"),
    ],
)
def test_a_damaged_list(tmp_path, lines, message):
    folder = tmp_path / "model"
    make().save(folder)
    data = "".join(f"{line}\n" for line in lines).encode("utf8")
    (folder / "static_vocab.txt").write_bytes(data)
    with pytest.raises(loading.ModelFolderError, match=r"static_vocab\.txt is damaged"):
        loading.load(folder)
    config = json.loads((folder / "config.json").read_bytes())
    config["files"]["static_vocab.txt"] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(loading.ModelFolderError, match=f"does not fit its settings: .*{message}"):
        loading.load(folder)

"""N-grams: found where they stand, in sentences of one direction's past, on disk and in damaged folders."""

import json
from hashlib import sha256

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.errors import ConfigError, ElmoError
from spacy_elmo.inference import loading
from spacy_elmo.inference.backends import available_backends
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.inference.encode import encode
from spacy_elmo.modeling.collate import collate
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import SPECIALS, Vocab
from spacy_elmo.pretraining.step.train_step import TrainStep

from .helpers import ENCODERS, NGRAMS, layers, make_bilm

UNITS = "我爱在的，"
FOUR = sorted({*NGRAMS[:5], "我爱我爱", "在的我爱", "，在，在"})
texts = st.text(st.sampled_from(UNITS + "天安门谁"), max_size=12)


def make_four() -> BiLM:
    """A model of n-grams of up to four units, whose rows are narrower than the embedding."""
    torch.manual_seed(1)
    config = BiLMConfig(projection_dim=6, hidden_size=10, n_ngrams=len(FOUR), max_ngram_length=4, ngram_dim=4)
    return BiLM(config, Vocab(UNITS, ngrams=FOUR, max_ngram_length=4)).eval()


MODELS = [make_bilm(**ENCODERS["n-grams"]), make_four()]


@given(st.lists(texts, min_size=1, max_size=4), st.sets(st.text("我爱在", min_size=2, max_size=4)))
def test_rows_are_found_where_the_ngrams_end(sentences, ngrams):
    known = sorted(ngrams)
    vocab = Vocab(UNITS, ngrams=known, max_ngram_length=4)
    ids = np.zeros((len(sentences), 14), dtype=np.int64)
    for row, sentence in zip(ids, sentences, strict=True):
        row[: len(sentence) + 2] = vocab.ids(sentence)
    found = vocab.ngram_rows(ids)
    assert found.shape == (len(sentences), 14, 3)
    expected = np.zeros_like(found)
    for row, sentence in zip(expected, sentences, strict=True):
        for t in range(1, len(sentence) + 1):
            for n in (2, 3, 4):
                ngram = sentence[max(0, t - n) : t]
                if len(ngram) == n and ngram in ngrams:
                    row[t, n - 2] = 1 + known.index(ngram)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("backend", available_backends())
@pytest.mark.parametrize("bilm", MODELS, ids=["three", "four"])
@settings(max_examples=25, deadline=None)
@given(sentence=texts.filter(bool), more=texts, data=st.data())
def test_no_direction_reads_what_it_predicts(backend, bilm, sentence, more, data):
    width = bilm.config.projection_dim
    cut = data.draw(st.integers(0, len(sentence)))
    for precision in ("f32", "bf16"):
        begun, ended = sentence[:cut] + more, more + sentence[cut:]
        whole, other, last = (
            encode(bilm, [list(text)], backend=backend, precision=precision)[0]
            for text in (sentence, begun, ended)
        )
        np.testing.assert_array_equal(other[:, :cut, :width], whole[:, :cut, :width])
        np.testing.assert_array_equal(last[:, len(more) :, width:], whole[:, cut:, width:])


@pytest.mark.parametrize("backend", available_backends())
def test_an_ngram_is_read_behind_its_end_alone(backend):
    bilm, changed = MODELS[0], make_bilm(**ENCODERS["n-grams"])
    row = 1 + NGRAMS.index("我爱我")
    with torch.no_grad():
        changed.token_encoder.ngram_embedding.weight[row] += 1.0
    sentence, width = list("在的我爱我，在"), bilm.config.projection_dim
    before, after = (encode(model, [sentence], backend=backend)[0] for model in (bilm, changed))
    ahead, back = ((before != after)[..., half].any(-1) for half in (slice(width), slice(width, None)))
    assert ahead[0].tolist() == [False] * 4 + [True] + [False] * 2  # layer 0: where it ends
    assert back[0].tolist() == [False] * 2 + [True] + [False] * 4  # where it begins
    assert ahead[1].tolist() == [False] * 4 + [True] * 3
    assert back[1].tolist() == [True] * 3 + [False] * 4


def test_both_directions_get_gradients_of_an_ngram():
    bilm = make_bilm(**ENCODERS["n-grams"])
    TrainStep(bilm)(collate(bilm, [list("我爱我"), list("在的")]), seed=0)
    used = {1 + NGRAMS.index(ngram) for ngram in ("我爱", "爱我", "我爱我", "在的")}
    grad = bilm.token_encoder.ngram_embedding.weight.grad
    assert set(grad.abs().sum(1).nonzero().squeeze(1).tolist()) == used


def test_four_units_are_read_as_the_plain_network_reads_them():
    sentence = list("谁在的我爱我爱谁")
    for backend in available_backends():
        found = encode(MODELS[1], [sentence], backend=backend)[0]
        np.testing.assert_allclose(found, layers(MODELS[1], sentence), atol=1e-5)


def test_without_ngrams_nothing_is_new(tmp_path):
    bilm = make_bilm(units="char")
    assert not [name for name in bilm.state_dict() if "ngram" in name]
    bilm.save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    stored = json.loads(path.read_bytes())
    for key in ("n_ngrams", "max_ngram_length"):  # a folder of before there were any
        del stored["bilm"][key]
    path.write_text(json.dumps(stored))
    assert loading.load(tmp_path / "model").config == bilm.config


@pytest.mark.parametrize(
    ("ngrams", "message"),
    [
        (["我爱", "我爱"], "lists the n-gram '我爱' twice"),
        (["我"], "'我' is not an n-gram of 2 to 3 units"),
        ([""], "'' is not an n-gram"),
        (["我爱我爱"], "'我爱我爱' is not an n-gram of 2 to 3 units"),
        (["我谁"], "'我谁' is not an n-gram of 2 to 3 units of the vocabulary"),
        (["我\n"], "is not an n-gram"),
    ],
    ids=str,
)
def test_ngrams_that_are_none(ngrams, message):
    with pytest.raises(ElmoError, match=message) as caught:
        Vocab(UNITS, ngrams=ngrams)
    assert "\n" not in str(caught.value)


def test_keys_that_are_too_large_for_the_machine():
    many = [chr(0x10000 + i) for i in range(60_000)]
    with pytest.raises(ElmoError, match="60,004 units are too many for n-grams of 4"):
        Vocab(many, ngrams=[many[0] * 2], max_ngram_length=4)
    vocab = Vocab(many, ngrams=[many[-1] * 3], max_ngram_length=3)
    last = len(SPECIALS) + len(many) - 1
    assert vocab.ngram_rows(np.full((1, 4), last))[0].tolist() == [[0, 0], [0, 0], [0, 1], [0, 1]]


def test_rows_of_ngrams_are_not_wider_than_the_embedding():
    with pytest.raises(ConfigError, match="ngram_dim must be at most projection_dim"):
        BiLMConfig(projection_dim=6, hidden_size=10, n_ngrams=3, ngram_dim=7)
    assert (
        BiLM(BiLMConfig(projection_dim=6, hidden_size=10), Vocab("甲")).token_encoder.ngram_embedding is None
    )
    assert MODELS[1].token_encoder.ngram_embedding.weight.shape == (1 + len(FOUR), 4)


def test_a_model_has_a_row_for_each():
    with pytest.raises(ConfigError, match="n_ngrams = 3, but the vocabulary lists 1"):
        BiLM(BiLMConfig(projection_dim=4, hidden_size=4, n_ngrams=3), Vocab(UNITS, ngrams=["我爱"]))
    with pytest.raises(ConfigError, match="n_ngrams = 0, but the vocabulary lists 1"):
        BiLM(BiLMConfig(projection_dim=4, hidden_size=4), Vocab(UNITS, ngrams=["我爱"]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("\n".join([*NGRAMS[:-1], "我爱"]) + "\n", "twice"),
        ("\n".join(NGRAMS[:-1]) + "\n", "lists 11"),
        ("\n".join(NGRAMS), "lists 11"),  # the last line is cut off
        ("\n".join([*NGRAMS[:-1], "我爱我爱"]) + "\n", "is not an n-gram"),
        ("", "lists 0"),
        ("我爱".encode("gb18030"), "UTF-8"),
    ],
)
def test_a_damaged_list_of_ngrams(tmp_path, data, message):
    folder = tmp_path / "model"
    MODELS[0].save(folder)
    data = data if isinstance(data, bytes) else data.encode("utf8")
    (folder / "ngrams.txt").write_bytes(data)
    with pytest.raises(loading.ModelFolderError, match=r"ngrams\.txt is damaged"):
        loading.load(folder)
    config = json.loads((folder / "config.json").read_bytes())
    config["files"]["ngrams.txt"] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(loading.ModelFolderError, match=f"does not fit its settings: .*{message}") as caught:
        loading.load(folder)
    assert "\n" not in str(caught.value)
    del config["files"]["ngrams.txt"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(loading.ModelFolderError, match="n_ngrams = 12, but the vocabulary lists 0"):
        loading.load(folder)

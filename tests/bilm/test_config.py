"""Settings of a biLM: what is taken, and one sentence about what is not."""

import json

import pytest

from spacy_elmo.bilm.config import BiLMConfig, ConfigError
from spacy_elmo.bilm.errors import ElmoError


def test_round_trip_through_json():
    config = BiLMConfig(
        units="word",
        encoder="both",
        tied_softmax=False,
        char_filters=((1, 2), (3, 4)),
        table_width=5,
        cell_clip=3.0,
        meta={"name": "测试"},
    )
    assert BiLMConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert BiLMConfig.from_dict({}) == BiLMConfig()
    assert config.width == 256
    assert config.table_dim == 5
    assert BiLMConfig().table_dim == BiLMConfig().projection


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"projektion": 8}, '"projektion" is not a setting'),
        ({"units": "syllable"}, 'units = "syllable"'),
        ({"units": ["char"]}, "units"),
        ({"encoder": "cnn"}, 'encoder = "cnn"'),
        ({"activation": "gelu"}, 'activation = "gelu"'),
        ({"projection": 0}, "projection = 0"),
        ({"projection": 8.0}, "projection = 8.0"),
        ({"projection": "8"}, "projection = '8'"),
        ({"hidden": True}, "hidden = True"),
        ({"n_layers": None}, "n_layers = None"),
        ({"n_layers": -1}, "n_layers = -1"),
        ({"n_highway": -1}, "n_highway = -1"),
        ({"max_sentence": 0}, "max_sentence = 0"),
        ({"table_width": 0}, "table_width = 0"),
        ({"cell_clip": 0}, "cell_clip = 0"),
        ({"cell_clip": "3"}, "cell_clip = '3'"),
        ({"projection_clip": -1.0}, "projection_clip = -1.0"),
        ({"skip": "yes"}, "skip = 'yes'"),
        ({"normalize": 1}, "normalize = 1"),
        ({"lang": None}, "lang = None"),
        ({"meta": []}, "meta"),
        ({"char_filters": []}, "char_filters"),
        ({"char_filters": 3}, "char_filters"),
        ({"char_filters": [[1, 2, 3]]}, "char_filters"),
        ({"char_filters": [[1, 0]]}, "char_filters"),
        ({"char_filters": [[1.5, 2]]}, "char_filters"),
        ({"char_filters": ["12"]}, "char_filters"),
        ({"ngrams": -1}, "ngrams = -1"),
        ({"ngrams": True}, "ngrams = True"),
        ({"ngrams": False}, "ngrams = False"),
        ({"ngrams": 5.0}, "ngrams = 5.0"),
        ({"longest_ngram": 1}, "longest_ngram = 1 must be 2, 3 or 4"),
        ({"longest_ngram": 5}, "longest_ngram = 5"),
        ({"longest_ngram": "3"}, "longest_ngram = '3'"),
        ({"ngrams": 5, "units": "word"}, 'ngrams need units = "char"'),
        (
            {"ngrams": 5, "table_width": 64, "tied_softmax": False},
            "table_width equal to projection, not joined",
        ),
        (
            {"ngrams": 5, "joined": True, "softmax": False, "tied_softmax": False},
            "not joined: set ngrams = 0",
        ),
        ({"n_layers": 10**8}, "n_layers = 100000000 must be a whole number from 1 to 128"),
        ({"n_highway": 10**8}, "n_highway = 100000000 must be a whole number from 0 to 128"),
        ({"hidden": 2**62}, "must be a whole number from 1 to 131072"),
        ({"char_filters": ((1, 2**17), (2, 1))}, "131072 numbers in all"),
        ({"cell_clip": float("inf")}, "null or a number above 0, at most 1e+30"),
        ({"hidden": 8, "projection": 16}, "hidden must be at least"),
        ({"table_width": 64}, "tied_softmax"),
        ({"softmax": False}, "A model without a softmax ties none"),
        ({"joined": True, "tied_softmax": False}, "set softmax = false"),
        ({"joined": 1}, "joined = 1"),
        ({"spelling": "bytes"}, 'spelling = "bytes"'),
        ({"longest_unit": 0}, "longest_unit = 0"),
        ({"max_characters": 10**9}, "max_characters = 1000000000 must be a whole number from 1 to 10000"),
        ({"units": "word", "encoder": "char_cnn"}, "tied_softmax"),
        ({"encoder": "both", "tied_softmax": False}, "Character units"),
        (
            {"units": "word", "encoder": "both", "tied_softmax": False, "max_characters": 1},
            "raise max_characters",
        ),
    ],
    ids=str,
)
def test_errors_are_one_sentence(values, message):
    with pytest.raises(ConfigError) as caught:
        BiLMConfig.from_dict(values)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert text.endswith(".")
    assert isinstance(caught.value, ElmoError)
    assert isinstance(caught.value, ValueError)


def test_an_unknown_key_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"use activation, .*units"):
        BiLMConfig.from_dict({"foo": 1})

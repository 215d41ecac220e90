"""Settings of a biLM: what is taken, and one sentence about what is not."""

import json

import pytest

from spacy_elmo.errors import ConfigError, ElmoError
from spacy_elmo.modeling.config import BiLMConfig


def test_round_trip_through_json():
    config = BiLMConfig(
        units="word",
        token_encoder="both",
        tie_softmax=False,
        char_filters=((1, 2), (3, 4)),
        embedding_dim=5,
        cell_clip=3.0,
        meta={"name": "测试"},
    )
    assert BiLMConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert BiLMConfig.from_dict({}) == BiLMConfig()
    assert config.width == 256
    assert config.effective_embedding_dim == 5
    assert BiLMConfig().effective_embedding_dim == BiLMConfig().projection_dim


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"projektion": 8}, '"projektion" is not a setting'),
        ({"units": "syllable"}, 'units = "syllable"'),
        ({"units": ["char"]}, "units"),
        ({"token_encoder": "cnn"}, 'token_encoder = "cnn"'),
        ({"activation": "gelu"}, 'activation = "gelu"'),
        ({"projection_dim": 0}, "projection_dim = 0"),
        ({"projection_dim": 8.0}, "projection_dim = 8.0"),
        ({"projection_dim": "8"}, "projection_dim = '8'"),
        ({"hidden_size": True}, "hidden_size = True"),
        ({"n_layers": None}, "n_layers = None"),
        ({"n_layers": -1}, "n_layers = -1"),
        ({"n_highway": -1}, "n_highway = -1"),
        ({"max_sentence_length": 0}, "max_sentence_length = 0"),
        ({"embedding_dim": 0}, "embedding_dim = 0"),
        ({"cell_clip": 0}, "cell_clip = 0"),
        ({"cell_clip": "3"}, "cell_clip = '3'"),
        ({"proj_clip": -1.0}, "proj_clip = -1.0"),
        ({"use_skip_connections": "yes"}, "use_skip_connections = 'yes'"),
        ({"fold_fullwidth": 1}, "fold_fullwidth = 1"),
        ({"lang": None}, "lang = None"),
        ({"meta": []}, "meta"),
        ({"char_filters": []}, "char_filters"),
        ({"char_filters": 3}, "char_filters"),
        ({"char_filters": [[1, 2, 3]]}, "char_filters"),
        ({"char_filters": [[1, 0]]}, "char_filters"),
        ({"char_filters": [[1.5, 2]]}, "char_filters"),
        ({"char_filters": ["12"]}, "char_filters"),
        ({"n_ngrams": -1}, "n_ngrams = -1"),
        ({"n_ngrams": True}, "n_ngrams = True"),
        ({"n_ngrams": False}, "n_ngrams = False"),
        ({"n_ngrams": 5.0}, "n_ngrams = 5.0"),
        ({"max_ngram_length": 1}, "max_ngram_length = 1 must be 2, 3 or 4"),
        ({"max_ngram_length": 5}, "max_ngram_length = 5"),
        ({"max_ngram_length": "3"}, "max_ngram_length = '3'"),
        ({"n_ngrams": 5, "units": "word"}, 'n_ngrams needs units = "char"'),
        (
            {"n_ngrams": 5, "embedding_dim": 64, "tie_softmax": False},
            "embedding_dim equal to projection_dim and stacked_bidirectional = false",
        ),
        (
            {"n_ngrams": 5, "stacked_bidirectional": True, "has_softmax": False, "tie_softmax": False},
            "stacked_bidirectional = false: set n_ngrams = 0",
        ),
        ({"n_layers": 10**8}, "n_layers = 100000000 must be an integer from 1 to 128"),
        ({"n_highway": 10**8}, "n_highway = 100000000 must be an integer from 0 to 128"),
        ({"hidden_size": 2**62}, "must be an integer from 1 to 131072"),
        ({"char_filters": ((1, 2**17), (2, 1))}, "at most 131072 filters in all"),
        ({"cell_clip": float("inf")}, "null or a number above 0, at most 1e+30"),
        ({"hidden_size": 8, "projection_dim": 16}, "hidden_size must be at least"),
        ({"embedding_dim": 64}, "tie_softmax"),
        ({"has_softmax": False}, "tie_softmax needs has_softmax = true"),
        ({"stacked_bidirectional": True, "tie_softmax": False}, "set has_softmax = false"),
        ({"stacked_bidirectional": 1}, "stacked_bidirectional = 1"),
        ({"char_input": "bytes"}, 'char_input = "bytes"'),
        ({"max_unit_length": 0}, "max_unit_length = 0"),
        (
            {"max_characters_per_token": 10**9},
            "max_characters_per_token = 1000000000 must be an integer from 1 to 10000",
        ),
        ({"units": "word", "token_encoder": "char_cnn"}, "tie_softmax"),
        ({"token_encoder": "both", "tie_softmax": False}, 'units = "char" needs'),
        (
            {"units": "word", "token_encoder": "both", "tie_softmax": False, "max_characters_per_token": 1},
            "raise max_characters_per_token",
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

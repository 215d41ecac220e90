"""pretrain.cfg: what is taken, and one sentence about what is not."""

from pathlib import Path

import pytest
from thinc.api import Config

from spacy_elmo.errors import ConfigError
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.pretraining.config import TrainingConfig, read_config

SHIPPED = Path(__file__).parents[2] / "configs" / "pretrain.cfg"


@pytest.fixture
def config(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "pretrain.cfg"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def refused(path: Path, message: str, **overrides) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path, overrides)
    assert "\n" not in str(caught.value)


def test_the_config_that_ships():
    settings = read_config(SHIPPED)
    assert settings.paths.train is None
    assert settings.training.max_steps > 100
    assert BiLMConfig.from_dict(settings.model).width == 2 * settings.model["projection_dim"]


def test_overrides():
    overrides = {
        "training.max_steps": 5,
        "paths.train": "my corpus",
        "model.projection_dim": 8,
        "vocab.max_size": 9,
    }
    settings = read_config(SHIPPED, overrides)
    assert settings.training.max_steps == 5
    assert settings.paths.train == "my corpus"
    assert settings.model["projection_dim"] == 8
    assert settings.vocab.max_size == 9


def test_overrides_of_sections_that_are_left_out(config):
    overrides = {"paths.train": "my corpus", "vocab.max_size": 9, "model.projection_dim": 8}
    settings = read_config(config("[training]\nseed = 1\n"), overrides)
    assert settings.training == TrainingConfig(seed=1)
    assert (settings.paths.train, settings.vocab.max_size) == ("my corpus", 9)
    assert settings.model == {"projection_dim": 8}
    refused(config(""), "no setting 'corpus'", **{"paths.corpus": "x"})
    refused(config(""), "nonsense", **{"nonsense.steps": 5})


def test_whatever_is_left_out_has_a_default(config):
    settings = read_config(config("[training]\nlearning_rate = 1\n"))
    assert settings.training.learning_rate == 1
    assert settings.training == TrainingConfig(learning_rate=1)
    assert settings.model == {}
    assert settings.to_dict()["vocab"]["min_count"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trainign]\nseed = 1\n", r"an unknown section \[trainign\]: use \[paths\]"),
        ("[training]\nsteps = 1\n", r"\[training\] has no setting 'steps': use batch_tokens"),
        ("[training]\nmax_steps = 2.5\n", r"\[training\] max_steps = 2.5 must be of type int"),
        pytest.param(
            '[training]\nmax_steps = "5"\n',
            "max_steps",
            marks=pytest.mark.skipif(
                Config().from_str('[a]\nb = "5"\n')["a"]["b"] == 5, reason="this confection reads it as 5"
            ),
        ),
        ("[training]\nmax_steps = true\n", "max_steps"),
        ("[training]\nmax_steps = null\n", "max_steps"),
        ("[training]\nmax_steps = 0\n", "max_steps must be at least 1"),
        ("[training]\nmax_checkpoints = 0\n", "max_checkpoints must be at least 1"),
        ("[training]\nlearning_rate = -1\n", "learning_rate = -1 must not be negative"),
        ("[training]\nlearning_rate = NaN\n", "learning_rate = nan must be finite"),
        ("[training]\nweight_decay = Infinity\n", "weight_decay = inf must be finite"),
        ("[training]\ngrad_clip = 0.0\n", "grad_clip must be above 0"),
        ("[training]\ndropout = 1.0\n", "dropout must be below 1"),
        ("[training]\nseed = 4294967296\n", "seed must be below"),
        ("[training]\nseed = -1\n", "seed = -1 must not be negative"),
        ('[training]\nprecision = "f16"\n', 'precision = "f16" is not known: use "auto", "f32", "bf16"'),
        ('[training]\nsave_dtype = "int8"\n', 'save_dtype = "int8"'),
        ("[training.optimizer]\nlr = 1\n", "training"),
        ("[vocab]\nmax_size = 2.5\n", "max_size"),
        ("[vocab]\nmax_size = 0\n", "max_size must be at least 1, or null"),
        ("[paths]\ntrain = 5\n", "train = 5"),
        ("[training]\nmax_steps = 1\nmax_steps = 2\n", "cannot be read.*already exists"),
        ("[training]\nseed = 1\n[training]\nseed = 1\n", "cannot be read.*already exists"),
        ("[training]\nseed = ${somewhere.seed}\n", "cannot be read"),
        ("[paths]\ntrain = ${paths.train}\n", "cannot be read"),
        ("[training\n", "cannot be read"),
        ("seed = 1\n", "cannot be read"),
        (b"[training]\nseed = \xff\n", "cannot be read"),
    ],
    ids=repr,
)
def test_errors_are_one_sentence(config, text, message):
    refused(config(text), message)


def test_no_file(tmp_path):
    refused(tmp_path / "nowhere.cfg", "The configuration")
    refused(tmp_path, "The configuration")


def test_overrides_of_what_is_not_there():
    refused(SHIPPED, "no setting 'steps'", **{"training.steps": 5})
    refused(SHIPPED, r"--nonsense.steps names no section: use \[paths\]", **{"nonsense.steps": 5})

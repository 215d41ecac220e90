"""pretrain.cfg: what a run is made of, typed, with an error for every key that is not known."""

import configparser
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from thinc.api import Config

from ..bilm.config import ConfigError


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Section [paths]. Relative paths are relative to the working directory."""

    corpus: str | None = None
    """A folder made by `spacy elmo corpus`."""
    heldout: str | None = None
    """A text file for held-out perplexity."""


@dataclass(frozen=True, kw_only=True)
class VocabSettings:
    """Section [vocab]: which units of the corpus become the vocabulary."""

    min_count: int = 2
    """A unit that is rarer becomes <unk>, so that <unk> itself is trained."""
    max_size: int | None = None
    """At most this many units."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Section [training]."""

    seed: int = 0
    max_steps: int = 4000
    """Updates of the weights."""
    batch_tokens: int = 2048
    """Units of a batch, boundaries and padding included."""
    learning_rate: float = 8e-3
    """Adam's, at its peak."""
    warmup_steps: int = 100
    """Steps of linear increase; a linear decrease to zero at max_steps follows."""
    weight_decay: float = 0.0
    """Decoupled (AdamW), on matrices only."""
    grad_clip: float = 1.0
    """Largest norm of the gradient over all weights."""
    dropout: float = 0.1
    """On the input of every LSTM layer and of the softmax."""
    precision: str = "auto"
    """Of the matrix products: "f32", "bf16", or "auto": bf16 where the processor has it natively."""
    eval_every: int = 500
    """Steps between measurements on the held-out text."""
    eval_units: int = 50_000
    """Units of the held-out text for the measurements during training; the last one uses all."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    """Older ones are deleted."""
    weights: str = "float16"
    """Type of the weights in the model folder: "float16" or "float32"."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A whole pretrain.cfg; `model` holds the sizes and switches of BiLMConfig."""

    paths: Paths
    vocab: VocabSettings
    training: TrainingSettings
    model: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


SECTIONS = {"paths": Paths, "vocab": VocabSettings, "training": TrainingSettings}


def read_settings(path: Path, overrides: dict[str, Any] | None = None) -> Settings:
    """Read a pretrain.cfg. overrides: values by dotted key ("training.max_steps")."""
    if not path.is_file():
        raise ConfigError(f"There is no configuration {path}: check the path.")
    try:
        config = Config().from_disk(path, interpolate=True, overrides=overrides or {})
    except (ValueError, configparser.Error) as error:  # confection's messages have many lines
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    for name in config:
        if name not in (*SECTIONS, "model"):
            known = ", ".join(f"[{section}]" for section in (*SECTIONS, "model"))
            raise ConfigError(f"{path} has a section [{name}] that is not known: use {known}.")
    sections = {name: _section(kind, config.get(name, {}), name) for name, kind in SECTIONS.items()}
    return Settings(**sections, model=dict(config.get("model", {})))


def _section(kind: Any, values: dict[str, Any], name: str) -> Any:
    known = {field.name: field.type for field in fields(kind)}
    for key, value in values.items():
        if key not in known:
            options = ", ".join(sorted(known))
            raise ConfigError(f"[{name}] has no setting {key!r}: use {options}.")
        if not _is(value, known[key]):
            wanted = getattr(known[key], "__name__", str(known[key]))
            raise ConfigError(f"[{name}] {key} = {value!r} should be of type {wanted}.")
        if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
            raise ConfigError(f"[{name}] {key} = {value!r} must not be negative.")
    section = kind(**values)
    if isinstance(section, TrainingSettings):
        _check_training(section)
    return section


def _is(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool):
        return False
    if wanted is float:
        return isinstance(value, int | float)
    return isinstance(value, wanted)


def _check_training(training: TrainingSettings) -> None:
    choices = {"precision": ("auto", "f32", "bf16"), "weights": ("float16", "float32")}
    for key, allowed in choices.items():
        if getattr(training, key) not in allowed:
            options = ", ".join(f'"{option}"' for option in allowed)
            raise ConfigError(f'[training] {key} = "{getattr(training, key)}" is not known: use {options}.')
    steps = ("max_steps", "eval_every", "checkpoint_every", "keep_checkpoints")
    for key in (*steps, "batch_tokens", "eval_units"):
        if getattr(training, key) < 1:
            raise ConfigError(f"[training] {key} must be at least 1.")
    if training.seed >= 2**31:  # steps are counted in the other half of torch's seeds
        raise ConfigError("[training] seed must be below 2**31.")
    if training.dropout >= 1:
        raise ConfigError("[training] dropout must be below 1.")

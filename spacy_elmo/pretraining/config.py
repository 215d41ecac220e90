"""Read pretrain.cfg into typed settings; unknown keys and wrong types are errors."""

import configparser
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from thinc.api import Config

from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Section [paths]. Relative paths are relative to the working directory."""

    train: str | None = None
    """Corpus folder, made by `spacy elmo corpus`."""
    dev: str | None = None
    """Text file for held-out perplexity."""
    init_from: str | None = None
    """Model folder or checkpoint with the initial weights; null: random weights."""
    labels: str | None = None
    """Folder of labels of the corpus's units, which the biLM learns to predict, too; null: no labels."""


@dataclass(frozen=True, kw_only=True)
class VocabConfig:
    """Section [vocab]: the units of the corpus that become the vocabulary."""

    min_count: int = 2
    """Rarer units become <unk>, so that <unk> itself is trained."""
    max_size: int | None = None
    """Largest number of units; null: no limit."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Section [training]."""

    seed: int = 0
    """Seed of the initial weights, the order of the sentences and dropout."""
    max_steps: int = 4000
    """Optimizer steps."""
    batch_tokens: int | str = 2048
    """Units of a batch over all processes, boundaries and padding included; each process has an equal share.
    "auto": the largest batch that fits into memory, with a margin."""
    learning_rate: float = 8e-3
    """Peak learning rate of AdamW."""
    warmup_steps: int = 100
    """Steps of linear increase of the learning rate."""
    decay_steps: int | None = None
    """Steps of linear decrease to zero at max_steps, after a constant rate; null: all after the warm-up."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW), of matrices only."""
    grad_clip: float = 1.0
    """Largest norm of the gradient of all weights together; above 0."""
    dropout: float = 0.1
    """Dropout rate on the input of every LSTM layer and of the softmax."""
    softmax: str = "full"
    """Softmax of the training loss: "full", or "sampled" for very large vocabularies."""
    n_samples: int = 8192
    """Units of the sampled softmax, in addition to those of the batch."""
    label_loss_weight: float = 0.2
    """Weight of the loss of the labels, relative to that of the language models; used with [paths] labels."""
    precision: str = "auto"
    """Type of matrix products: "f32", "bf16", or "auto" (bf16 if the processor supports it)."""
    log_every: int = 100
    """Steps between progress lines."""
    eval_every: int = 500
    """Steps between evaluations on the held-out text."""
    eval_tokens: int = 50_000
    """Units of the held-out text for evaluations during training; the last evaluation uses all units."""
    patience: int = 0
    """Stop after this many evaluations without a better held-out perplexity; 0: never."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    max_checkpoints: int = 2
    """Checkpoints to keep; older ones are deleted."""
    save_dtype: str = "float16"
    """Type of the weights in the model folder: "float16" or "float32"."""


# Settings that may change when a run continues, because none of them changes a training step.
CHANGEABLE_ON_RESUME = (
    "eval_every",
    "eval_tokens",
    "log_every",
    "checkpoint_every",
    "max_checkpoints",
    "patience",
    "save_dtype",
)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A complete pretrain.cfg; `model` holds the sizes and switches of BiLMConfig."""

    paths: Paths
    vocab: VocabConfig
    training: TrainingConfig
    model: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)

    def find_conflict(self, recorded: dict[str, Any]) -> str | None:
        """Return the setting that prevents a run with `recorded` settings from continuing, or None.

        init_from may be left out, other paths may change, max_steps may grow, and the intervals of evaluation
        and saving are free.
        """
        current = json.loads(json.dumps(self.to_dict()))
        given, parent = self.paths.init_from, recorded_parent(recorded)
        if given is not None and (parent is None or Path(given).resolve() != Path(parent).resolve()):
            return f"[paths] init_from was {parent!r}, now it is {given!r}; leave it out to keep the parent"
        for section in ("vocab", "training", "model"):
            defaults = asdict(SECTIONS[section]()) if section in SECTIONS else {}
            before = {**defaults, **recorded.get(section, {})}
            for key in sorted(before.keys() | current[section].keys()):
                old, new = before.get(key), current[section].get(key)
                longer = key == "max_steps" and isinstance(old, int) and new >= old
                free = longer or (section == "training" and key in CHANGEABLE_ON_RESUME)
                if old != new and not free:
                    return f"[{section}] {key} was {old!r}, now it is {new!r}"
        return None


def recorded_parent(recorded: dict[str, Any]) -> str | None:
    """Return [paths] init_from of the settings that a run recorded."""
    parent: str | None = recorded.get("paths", {}).get("init_from")
    return parent


SECTIONS: dict[str, Any] = {"paths": Paths, "vocab": VocabConfig, "training": TrainingConfig}


def read_config(path: Path, overrides: dict[str, Any] | None = None) -> PretrainConfig:
    """Read a pretrain.cfg. overrides: values by dotted key ("training.max_steps"). Raises a ConfigError."""
    names = (*SECTIONS, "model")
    known = ", ".join(f"[{section}]" for section in names)
    for key in overrides or {}:
        if key.partition(".")[0] not in names:
            raise ConfigError(f"--{key} names no section: use {known}.")
    if not path.is_file():
        raise ConfigError(f"The configuration {path} does not exist: check the path.")
    try:
        text = path.read_text(encoding="utf8")
        given = Config().from_str(text, interpolate=False)
        # confection overrides only sections that are there.
        text += "".join(f"\n[{name}]\n" for name in names if name not in given)
        config = Config().from_str(text, overrides=overrides or {})
    except (ValueError, configparser.Error) as error:  # confection's messages have many lines
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    for name in config:
        if name not in names:
            raise ConfigError(f"{path} has an unknown section [{name}]: use {known}.")
    sections = {name: _section(kind, config[name], name) for name, kind in SECTIONS.items()}
    return PretrainConfig(**sections, model=dict(config["model"]))


def _section(kind: Any, values: dict[str, Any], name: str) -> Any:
    known = {field.name: field.type for field in fields(kind)}
    for key, value in values.items():
        if key not in known:
            options = ", ".join(sorted(known))
            raise ConfigError(f"[{name}] has no setting {key!r}: use {options}.")
        if not _has_type(value, known[key]):
            wanted = getattr(known[key], "__name__", str(known[key]))
            raise ConfigError(f"[{name}] {key} = {value!r} must be of type {wanted}.")
        if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
            raise ConfigError(f"[{name}] {key} = {value!r} must not be negative.")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"[{name}] {key} = {value!r} must be finite.")
    section = kind(**values)
    if isinstance(section, VocabConfig) and section.max_size == 0:
        raise ConfigError("[vocab] max_size must be at least 1, or null.")
    if isinstance(section, TrainingConfig):
        _check_training(section)
    return section


def _has_type(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool):
        return False
    if wanted is float:
        return isinstance(value, int | float)
    return isinstance(value, wanted)


def _check_training(training: TrainingConfig) -> None:
    choices = {
        "precision": ("auto", "f32", "bf16"),
        "save_dtype": ("float16", "float32"),
        "softmax": ("full", "sampled"),
    }
    for key, allowed in choices.items():
        if getattr(training, key) not in allowed:
            options = ", ".join(f'"{option}"' for option in allowed)
            raise ConfigError(f'[training] {key} = "{getattr(training, key)}" is not known: use {options}.')
    if isinstance(training.batch_tokens, str) and training.batch_tokens != "auto":
        raise ConfigError('[training] batch_tokens must be a number of units or "auto".')
    steps = ("max_steps", "log_every", "eval_every", "checkpoint_every", "max_checkpoints")
    for key in (*steps, "batch_tokens", "eval_tokens", "n_samples"):
        if getattr(training, key) != "auto" and getattr(training, key) < 1:
            raise ConfigError(f"[training] {key} must be at least 1.")
    if training.decay_steps == 0:
        raise ConfigError("[training] decay_steps must be at least 1, or null.")
    if training.seed >= 2**32:
        raise ConfigError("[training] seed must be below 2**32.")
    if training.grad_clip == 0:  # would make every gradient zero
        raise ConfigError("[training] grad_clip must be above 0: to clip nothing, use a large value (1e9).")
    if training.dropout >= 1:
        raise ConfigError("[training] dropout must be below 1.")

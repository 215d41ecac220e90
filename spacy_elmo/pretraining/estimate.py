"""Estimate the cost of a run: parameters, memory per process, units, floating-point operations, days."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice, product

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from ..errors import ConfigError
from ..inference.bilm import BiLM
from ..modeling.config import BiLMConfig
from ..modeling.serialization import vocab_of
from ..modeling.vocab import Vocab
from ..progress import track
from .auto_batch_size import random_batch
from .config import PretrainConfig
from .data.corpus import Corpus
from .data.unit_labels import UnitLabels
from .initialization import CORPUS_SETTINGS, config_of, merge_units, parent_of
from .memory_model import DISTINCT_TYPE_RATIO, count_compared, model_memory
from .optim import build_optimizer, build_train_step
from .step.label_head import LabelHead
from .step.train_step import limited_torch_threads

# Chinese text: bytes per unit and units per sentence, measured on 0.6 MB of mixed text, with jieba's words.
BYTES = {"char": 2.91, "word": 5.03}
SENTENCE = {"char": 37.3, "word": 21.6}
MAX_UNITS, MAX_NGRAMS = 1_000_000, 10_000_000  # of dummy vocabularies, which are lists in memory
SCALING_EFFICIENCY = 0.9  # speed of one process among several, relative to its speed alone


@dataclass(frozen=True)
class RunEstimate:
    """A run in numbers. Memory is in bytes per process; operations are those of training."""

    parameters: dict[str, int]
    memory: dict[str, int]
    batch_tokens: int
    tokens: float
    epochs: float
    flops_per_token: dict[str, float]
    tokens_per_second: float
    gpus: int

    @property
    def flops(self) -> float:
        """Operations of the whole run."""
        return self.tokens * sum(self.flops_per_token.values())

    @property
    def days(self) -> float:
        """Days of the whole run, without evaluations."""
        together = SCALING_EFFICIENCY if self.gpus > 1 else 1.0
        return self.tokens / (self.tokens_per_second * self.gpus * together) / 86400


def estimate_run(
    settings: PretrainConfig,
    *,
    corpus_bytes: float | None = None,
    gpus: int = 1,
    memory: float = 22e9,
    units: str = "char",
    vocab_size: int | None = None,
    tokens_per_second: float | None = None,
) -> RunEstimate:
    """Estimate a run. Raises a ConfigError if a size is missing or too large for memory.

    corpus_bytes: of text; None: of [paths] train. memory: bytes of one GPU, for batch_tokens = "auto". units,
    vocab_size: used if there is no corpus yet. tokens_per_second: of one process; None: measured on this
    machine. Without a GPU and with several threads, both directions run concurrently and take more memory.
    """
    corpus = Corpus(settings.paths.train) if settings.paths.train else None
    if settings.paths.labels is not None and corpus is None:
        raise ConfigError("[paths] labels belongs to a corpus: give [paths] train, too.")
    labels = UnitLabels(settings.paths.labels, corpus) if corpus and settings.paths.labels else None
    corpus_settings = (
        {"units": units} if corpus is None else {key: corpus.manifest[key] for key in CORPUS_SETTINGS}
    )
    parent = parent_of(settings)
    config = config_of(settings, corpus_settings, parent)
    config = replace(config, n_static_vectors=0)  # counted before the training, which does not touch them
    vocab = _vocab(settings, corpus, vocab_size, spelled=config.token_encoder != "embedding")
    if corpus is not None and parent is not None:
        vocab = Vocab(*merge_units(parent, vocab, settings.vocab.max_size))  # a run keeps its parent's units
    if config.n_ngrams:
        config, vocab = _with_ngrams(config, len(vocab.units))
    with torch.device("meta"):
        bilm = BiLM(config, vocab)
    parameters = count_parameters(bilm)
    if corpus is None and corpus_bytes is None:
        raise ConfigError("An estimate needs the size of the text: give --corpus-size or [paths] train.")
    n = _units(corpus, config.units, corpus_bytes)
    needed = model_memory(bilm, settings, gpus)
    batch = settings.training.batch_tokens
    if not isinstance(batch, int):
        batch = needed.max_batch_tokens(memory) * gpus
        if batch < (config.max_sentence_length + 2) * gpus:
            raise ConfigError(
                "The model does not fit into memory: make it smaller, or give a larger --memory."
            )
    if tokens_per_second is None:
        n_labels = 0 if labels is None else len(labels.names)
        lengths = typical_lengths(corpus, config)
        tokens_per_second = measure_speed(config, vocab, settings, lengths, n_labels=n_labels)
    return RunEstimate(
        parameters=parameters,
        memory={**needed.fixed, "activations": int(needed.per_unit * batch / gpus)},
        batch_tokens=batch,
        tokens=float(batch) * settings.training.max_steps,
        epochs=batch * settings.training.max_steps / n,
        flops_per_token=training_flops(bilm, settings),
        tokens_per_second=tokens_per_second,
        gpus=gpus,
    )


def count_parameters(bilm: BiLM) -> dict[str, int]:
    """Count the weights by part. A tied softmax only has a bias of its own."""
    parts = {"embedding": "token_encoder.", "LSTMs": "_lm.", "softmax": "softmax_"}
    sizes = {name: p.numel() for name, p in bilm.named_parameters()}
    return {part: sum(n for name, n in sizes.items() if key in name) for part, key in parts.items()}


def training_flops(bilm: BiLM, settings: PretrainConfig) -> dict[str, float]:
    """Return the operations per unit, where the backward pass takes twice as many as the forward pass.

    A product with an m x n matrix counts 2mn. Element-wise operations are ignored.
    """
    config = bilm.config
    lstm = (
        2
        * config.n_layers
        * (8 * config.hidden_size * config.projection_dim + config.hidden_size * config.projection_dim)
    )
    compared = count_compared(bilm, settings)
    found = {"LSTMs": 6.0 * lstm, "softmax": 6.0 * 2 * compared * config.projection_dim}
    if config.token_encoder != "embedding":
        width = sum(n for _, n in config.char_filters)
        positions = config.max_characters_per_token + 2
        cnn = sum(w * n * config.char_embedding_dim * positions for w, n in config.char_filters)
        highways = 2 * config.n_highway * width**2
        found["char-CNN"] = 6.0 * DISTINCT_TYPE_RATIO * (cnn + highways + width * config.projection_dim)
    return found


def typical_lengths(corpus: Corpus | None, config: BiLMConfig) -> list[int]:
    """Return three lengths: 1/6, 1/2 and 5/6 of the units of a text are in sentences of at most that length.

    Without a corpus, the lengths follow a gamma distribution with the mean of mixed text.
    """
    if corpus is None:
        lengths = np.random.default_rng(0).gamma(2.0, SENTENCE[config.units] / 2, 10_000).astype(np.int64)
    else:
        lengths = corpus.lengths
    ordered = np.sort(lengths.clip(1, config.max_sentence_length))
    units = np.cumsum(ordered, dtype=np.int64)
    return [int(ordered[np.searchsorted(units, share * units[-1])]) for share in (1 / 6, 1 / 2, 5 / 6)]


def measure_speed(
    config: BiLMConfig,
    vocab: Vocab,
    settings: PretrainConfig,
    lengths: Sequence[int],
    *,
    tokens: int = 2048,
    n_labels: int = 0,
) -> float:
    """Measure the units per second of this process: complete steps on random units in sentences of `lengths`.

    The best of two rounds counts, after one to warm up. tokens: largest number of units of a batch. n_labels:
    number of labels that units can have; 0: they have none.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bilm = BiLM(config, vocab).to(device).train()
    training = settings.training
    head = LabelHead(config.projection_dim, n_labels).to(device) if n_labels else None
    step = build_train_step(bilm, training, head)
    parameters, optimizer = step.parameters, build_optimizer(step.parameters, training)
    wanted = training.batch_tokens if isinstance(training.batch_tokens, int) else tokens
    size = min(wanted, tokens) if device.type == "cpu" else 8 * tokens
    batches = [random_batch(step, size, length) for length in lengths]
    seconds = []
    for _ in track(range(3), "speed", unit="rounds"):
        began = time.monotonic()
        with limited_torch_threads(1) if step.runs_directions_in_threads else nullcontext():
            for number, batch in enumerate(batches):
                step(batch, number)
                norm = clip_grad_norm_(parameters, training.grad_clip)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                _ = float(norm)  # read: it has ended
        seconds.append(time.monotonic() - began)
    return sum(int(batch.lengths.sum()) for batch in batches) / min(seconds[1:])


def _vocab(settings: PretrainConfig, corpus: Corpus | None, size: int | None, *, spelled: bool) -> Vocab:
    """Return the vocabulary of the corpus, or a dummy one of the given size."""
    limits = settings.vocab
    if corpus is not None:
        return corpus.vocab(min_count=limits.min_count, max_size=limits.max_size, spelled=spelled)
    size = size or limits.max_size
    if size is None:
        raise ConfigError(
            "An estimate needs a vocabulary: give --vocab-size, [vocab] max_size or [paths] train."
        )
    if size > MAX_UNITS:
        raise ConfigError(
            f"The vocabulary has more than {MAX_UNITS:,} units: give a smaller --vocab-size or "
            "[vocab] max_size."
        )
    characters = [chr(0x4E00 + i) for i in range(6000)] if spelled else []
    return Vocab([f"unit {i}" for i in range(size)], characters)


def _with_ngrams(config: BiLMConfig, size: int) -> tuple[BiLMConfig, Vocab]:
    """Return a dummy vocabulary of `size` units with as many n-grams as the table has rows."""
    if config.n_ngrams > MAX_NGRAMS:
        raise ConfigError(f"[model] n_ngrams is more than {MAX_NGRAMS:,}: lower it.")
    units = [chr(0x10000 + i) for i in range(size)]
    tuples = (t for n in range(2, config.max_ngram_length + 1) for t in product(units, repeat=n))
    found = ["".join(t) for t in islice(tuples, config.n_ngrams)]
    return replace(config, n_ngrams=len(found)), vocab_of(config, units, (), found)


def _units(corpus: Corpus | None, units: str, size: float | None) -> float:
    """Return the number of units of the text, with two boundaries per sentence."""
    if corpus is None:
        assert size is not None
        n = size / BYTES[units]
        return n * (1 + 2 / SENTENCE[units])
    n = float(corpus.manifest["tokens"] + 2 * corpus.manifest["sentences"])
    if size is None:
        return n
    read = corpus.manifest.get("text", {}).get("characters")
    return n * size / (BYTES["char"] * read) if read else n


def parse_size(text: str) -> float:
    """Return the bytes of a size such as "3GB", "190 MB" or "22e9". Raises a ConfigError."""
    factors = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
    plain = text.strip().upper()
    factor = factors.get(plain[-2:], 1.0)
    try:
        size = float(plain[:-2] if plain[-2:] in factors else plain) * factor
    except ValueError:
        size = 0.0
    if not 0 < size < float("inf"):
        raise ConfigError(f'"{text}" is not a size: write it like 3GB or 190MB.')
    return size

"""Estimate the cost of a run: parameters, memory per process, units, floating-point operations, days."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice, product

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from ..inference.bilm import BiLM
from ..modeling.config import BiLMConfig, ConfigError
from ..modeling.cross_entropy import GPU_LOGIT_CHUNK, LOGIT_CHUNK
from ..modeling.serialization import vocab_of
from ..modeling.vocab import Vocab
from ..progress import track
from .auto_batch_size import MAX_BATCH_TOKENS, MEMORY_MARGIN, random_batch
from .config import PretrainConfig
from .data.corpus import Corpus
from .distributed import BUCKET_NUMEL
from .initialization import CORPUS_SETTINGS, config_of, parent_of
from .optim import build_optimizer, build_train_step
from .step.train_step import limited_torch_threads

# Chinese text: bytes per unit and units per sentence, measured on 0.6 MB of mixed text, with jieba's words.
BYTES = {"char": 2.91, "word": 5.03}
SENTENCE = {"char": 37.3, "word": 21.6}
DISTINCT_TYPE_RATIO = 0.43  # distinct words in 256 sentences, for the char-CNN
SCALING_EFFICIENCY = 0.9  # speed of one process among several, relative to its speed alone
# Activation memory of two concurrent directions, relative to one after the other, where the second reuses
# part of the memory of the first (measured, docs/pretraining.md).
CONCURRENT_DIRECTIONS_FACTOR = 1.6


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
    """Estimate a run. Raises a ConfigError if a size is missing or the model does not fit into memory.

    corpus_bytes: of text; None: of [paths] train. memory: bytes of one GPU, for batch_tokens = "auto". units,
    vocab_size: used if there is no corpus yet. tokens_per_second: of one process; None: measured on this
    machine. Without a GPU and with several threads, both directions run concurrently and take more memory.
    """
    corpus = Corpus(settings.paths.train) if settings.paths.train else None
    corpus_settings = (
        {"units": units} if corpus is None else {key: corpus.manifest[key] for key in CORPUS_SETTINGS}
    )
    config = config_of(settings, corpus_settings, parent_of(settings))
    config = replace(config, n_static_vectors=0)  # counted before the training, which does not touch them
    vocab = _vocab(settings, corpus, vocab_size, spelled=config.token_encoder != "embedding")
    if config.n_ngrams:
        config, vocab = _with_ngrams(config, len(vocab.units))
    with torch.device("meta"):
        bilm = BiLM(config, vocab)
    parameters = count_parameters(bilm)
    if corpus is None and corpus_bytes is None:
        raise ConfigError("An estimate needs the size of the text: give --corpus-size or [paths] train.")
    n = _units(corpus, config.units, corpus_bytes)
    fixed, each = _memory(bilm, parameters, gpus, settings)
    batch = settings.training.batch_tokens
    if not isinstance(batch, int):
        free = memory * (1 - MEMORY_MARGIN) - sum(fixed.values())
        if free < each * (config.max_sentence_length + 2):
            raise ConfigError(
                "The model does not fit into memory: make it smaller, or give a larger --memory."
            )
        batch = min(MAX_BATCH_TOKENS, int(free / each) // 256 * 256) * gpus
    if tokens_per_second is None:
        tokens_per_second = measure_speed(config, vocab, settings, typical_lengths(corpus, config))
    return RunEstimate(
        parameters=parameters,
        memory={**fixed, "activations": int(each * batch / gpus)},
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
    compared = len(bilm.vocab)
    if settings.training.softmax == "sampled":
        compared = min(compared, settings.training.n_samples)
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
    config: BiLMConfig, vocab: Vocab, settings: PretrainConfig, lengths: Sequence[int], *, tokens: int = 2048
) -> float:
    """Measure the units per second of this process: complete steps on random units in sentences of `lengths`.

    The best of two rounds counts, after one to warm up. tokens: largest number of units of a batch.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bilm = BiLM(config, vocab).to(device).train()
    training = settings.training
    step = build_train_step(bilm, training)
    parameters, optimizer = list(bilm.parameters()), build_optimizer(bilm, training)
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


def _memory(
    bilm: BiLM, parameters: dict[str, int], gpus: int, settings: PretrainConfig
) -> tuple[dict[str, int], float]:
    """Return the bytes by part that do not depend on the batch, and the bytes per unit of the batch."""
    n, buckets = sum(parameters.values()), 4 * BUCKET_NUMEL if gpus > 1 else 0
    width = 4 if settings.training.precision == "f32" else 2
    fixed = {
        "weights": 4 * n,
        "gradients": 4 * n + min(4 * n, buckets),
        "Adam": 8 * n,
        "products": width * parameters["LSTMs"],
    }
    on_gpu = gpus > 1 or torch.cuda.is_available()
    if on_gpu and _is_recorded(bilm, settings):
        fixed["gradients"] += 4 * n  # where the graphs write them
    fixed["softmax"], each = (_on_gpu if on_gpu else _on_cpu)(bilm, width, settings)
    config = bilm.config
    if config.token_encoder != "embedding":
        each += (
            DISTINCT_TYPE_RATIO
            * sum(n for _, n in config.char_filters)
            * (config.max_characters_per_token + 2)
            * 8
        )
    return fixed, each


def _compared(bilm: BiLM, settings: PretrainConfig) -> int:
    """Return the number of units in the softmax of a prediction."""
    sampled = settings.training.softmax == "sampled"
    return min(len(bilm.vocab), settings.training.n_samples) if sampled else len(bilm.vocab)


def _is_recorded(bilm: BiLM, settings: PretrainConfig) -> bool:
    """Return whether steps are recorded as CUDA graphs on a GPU with Triton: see step.cuda_graphs."""
    return settings.training.softmax == "full" and bilm.config.token_encoder == "embedding"


def _on_cpu(bilm: BiLM, width: int, settings: PretrainConfig) -> tuple[int, float]:
    """Return the bytes of the softmax, and of the activations per unit. width: bytes of a product's value."""
    at_once = torch.get_num_threads() > 1  # both directions, as TrainStep
    p, h, compared = bilm.config.projection_dim, bilm.config.hidden_size, _compared(bilm, settings)
    layer = (6 * h + 2 * p) * width + 4 * p * 3
    each = 2.0 * bilm.config.n_layers * layer + 2 * p * 4 * 4
    softmax = LOGIT_CHUNK * compared * 10 * (1 + at_once) + compared * p * (width + 2 * 4)
    return softmax, each * (CONCURRENT_DIRECTIONS_FACTOR if at_once else 1.0)


def _on_gpu(bilm: BiLM, width: int, settings: PretrainConfig) -> tuple[int, float]:
    """Return the bytes of the softmax, and of the activations per unit, on a GPU.

    A layer keeps gates, cell, output, inputs and dropout masks; the backward pass adds one layer's gate
    gradients. In CUDA graphs each direction has its own memory.
    """
    sides = 2 if _is_recorded(bilm, settings) else 1
    p, h, compared = bilm.config.projection_dim, bilm.config.hidden_size, _compared(bilm, settings)
    gates = (5 * h + 2 * p) * width
    each = float(bilm.config.n_layers * (gates + 4 * h + 12 * p) + gates + (12 + 2 * width) * p)
    softmax = GPU_LOGIT_CHUNK * compared * width + compared * p * (2 * width + 2 * 4)
    return sides * softmax, sides * each


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
    characters = [chr(0x4E00 + i) for i in range(6000)] if spelled else []
    return Vocab([f"unit {i}" for i in range(size)], characters)


def _with_ngrams(config: BiLMConfig, size: int) -> tuple[BiLMConfig, Vocab]:
    """Return a dummy vocabulary of `size` units with as many n-grams as the table has rows."""
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

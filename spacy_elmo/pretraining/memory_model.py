"""Model the memory of one training process: a constant part, and a part that grows with the batch.

`model_memory` computes both from the sizes, so that `estimate` works for other machines. auto_batch_size
measures the memory of steps on this machine, and adds the parts that these steps do not allocate yet.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..modeling.cross_entropy import GPU_LOGIT_CHUNK, LOGIT_CHUNK
from ..modeling.network import BiLMNetwork
from .config import PretrainConfig
from .distributed import BUCKET_NUMEL

MEMORY_MARGIN = 0.15  # share of memory to leave free, for other batch shapes and other users
MAX_BATCH_TOKENS = 2**16  # units per process; larger steps learn less from each unit
TOKENS_STEP = 256  # batch_tokens = "auto" is a multiple of it
DISTINCT_TYPE_RATIO = 0.43  # distinct words in 256 sentences, for the char-CNN
# Activation memory of two concurrent directions, relative to one after the other, where the second reuses
# part of the memory of the first (measured, docs/pretraining.md).
CONCURRENT_DIRECTIONS_FACTOR = 1.6


@dataclass(frozen=True)
class MemoryModel:
    """Bytes that a process needs."""

    fixed: dict[str, int]
    """by part, whatever the batch"""
    per_unit: float
    """for each unit in its batch"""

    def max_batch_tokens(self, memory: float) -> int:
        """Return the units of the largest batch that fits into `memory` bytes with MEMORY_MARGIN left free.

        A multiple of TOKENS_STEP, at most MAX_BATCH_TOKENS; 0 where not even one such batch fits.
        """
        free = memory * (1 - MEMORY_MARGIN) - sum(self.fixed.values())
        if self.per_unit <= 0:
            return MAX_BATCH_TOKENS
        return max(0, min(MAX_BATCH_TOKENS, int(free / self.per_unit) // TOKENS_STEP * TOKENS_STEP))


def model_memory(bilm: BiLMNetwork, settings: PretrainConfig, gpus: int) -> MemoryModel:
    """Work out the memory of a process that trains a biLM, on one of `gpus` GPUs or on this machine."""
    sizes = [p.numel() for p in bilm.parameters()]
    width = 4 if settings.training.precision == "f32" else 2  # bytes of a number in a product
    on_gpu = gpus > 1 or torch.cuda.is_available()
    recorded = on_gpu and _is_recorded(bilm, settings)
    lstm = sum(p.numel() for name, p in bilm.named_parameters() if "_lm." in name)
    softmax, per_unit = (_on_gpu if on_gpu else _on_cpu)(bilm, width, settings)
    later = bytes_besides_a_step(sizes, processes=gpus, recorded=recorded)
    fixed = {
        "weights": 4 * sum(sizes),
        "gradients": 4 * sum(sizes) + later["gradients"],
        "Adam": later["Adam"],
        "products": width * lstm,
        "softmax": softmax,
    }
    config = bilm.config
    if config.token_encoder != "embedding":
        filters = sum(n for _, n in config.char_filters)
        per_unit += DISTINCT_TYPE_RATIO * filters * (config.max_characters_per_token + 2) * 8
    return MemoryModel(fixed, per_unit)


def bytes_besides_a_step(sizes: Iterable[int], *, processes: int, recorded: bool) -> dict[str, int]:
    """Return bytes by part that forward and backward do not need: Adam's, and copies of gradients.

    sizes: numbers in each parameter. recorded: steps are CUDA graphs, which write gradients to a place of
    their own.
    """
    sizes = list(sizes)
    copies = sum(sizes) if recorded else 0
    if processes > 1:
        copies += min(sum(sizes), max(BUCKET_NUMEL, *sizes))  # the bucket that is summed
    return {"gradients": 4 * copies, "Adam": 8 * sum(sizes)}


def count_compared(bilm: BiLMNetwork, settings: PretrainConfig) -> int:
    """Return the number of units in the softmax of a prediction."""
    sampled = settings.training.softmax == "sampled"
    return min(len(bilm.vocab), settings.training.n_samples) if sampled else len(bilm.vocab)


def _is_recorded(bilm: BiLMNetwork, settings: PretrainConfig) -> bool:
    """Return whether steps are recorded as CUDA graphs on a GPU with Triton: see step.cuda_graphs."""
    plain = settings.training.softmax == "full" and settings.paths.labels is None
    return plain and bilm.config.token_encoder == "embedding"


def _on_cpu(bilm: BiLMNetwork, width: int, settings: PretrainConfig) -> tuple[int, float]:
    """Return the bytes of the softmax, and of the activations per unit. width: bytes of a product's value."""
    labelled = settings.paths.labels is not None
    at_once = torch.get_num_threads() > 1 or labelled  # both directions, as TrainStep
    p, h, compared = bilm.config.projection_dim, bilm.config.hidden_size, count_compared(bilm, settings)
    layer = (6 * h + 2 * p) * width + 4 * p * 3
    activations = 2.0 * bilm.config.n_layers * layer + 2 * p * 4 * 4
    softmax = LOGIT_CHUNK * compared * 10 * (1 + at_once) + compared * p * (width + 2 * 4)
    return softmax, activations * (CONCURRENT_DIRECTIONS_FACTOR if at_once else 1.0)


def _on_gpu(bilm: BiLMNetwork, width: int, settings: PretrainConfig) -> tuple[int, float]:
    """Return the bytes of the softmax, and of the activations per unit, on a GPU.

    A layer keeps gates, cell, output, inputs and dropout masks. The backward pass adds the gradients of one
    layer's gates. In CUDA graphs each direction has its own memory.
    """
    directions = 2 if _is_recorded(bilm, settings) or settings.paths.labels is not None else 1
    p, h, compared = bilm.config.projection_dim, bilm.config.hidden_size, count_compared(bilm, settings)
    gates = (5 * h + 2 * p) * width
    activations = float(bilm.config.n_layers * (gates + 4 * h + 12 * p) + gates + (12 + 2 * width) * p)
    softmax = GPU_LOGIT_CHUNK * compared * width + compared * p * (2 * width + 2 * 4)
    return directions * softmax, directions * activations

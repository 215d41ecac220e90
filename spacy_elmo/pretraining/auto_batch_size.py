"""Find the largest batch that fits into memory, for batch_tokens = "auto"."""

import logging

import numpy as np
import torch

from ..modeling.collate import make_batch
from ..modeling.token_encoder import LabelledBatch, TokenBatch
from ..modeling.vocab import BOS, CHAR_UNK, EOS, SPECIALS
from ..seeds import derive_seed
from . import memory
from .distributed import DistributedContext
from .memory_model import TOKENS_STEP, MemoryModel, bytes_besides_a_step
from .optim import Step
from .step.cuda_graphs import CUDAGraphTrainStep

log = logging.getLogger("spacy_elmo")

PROBE_TOKENS = (1024, 4096)  # units of the two measured batches


def find_max_batch_tokens(step: Step, context: DistributedContext) -> int:
    """Return the units of a batch over all processes, from two measured steps on random units.

    The memory of a step grows linearly with the number of units. Adam's two values per weight, which these
    steps do not allocate, are added. On a GPU the result is tried, and lowered until it fits.
    """
    recorded = isinstance(step, CUDAGraphTrainStep)
    sizes = [p.numel() for p in step.parameters]
    later = bytes_besides_a_step(sizes, processes=context.size, recorded=recorded)
    if isinstance(step, CUDAGraphTrainStep):
        step = step.plain
    small, large = (_peak_bytes(step, n, context.device) for n in PROBE_TOKENS)
    per_unit = (large - small) / (PROBE_TOKENS[1] - PROBE_TOKENS[0])
    needed = MemoryModel({**later, "step": int(small - per_unit * PROBE_TOKENS[0])}, per_unit)
    tokens = max(PROBE_TOKENS[0], needed.max_batch_tokens(memory.available_bytes(context.device)))
    while context.device.type == "cuda" and tokens > PROBE_TOKENS[0]:
        try:
            _peak_bytes(step, tokens, context.device)
            break
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            tokens = int(tokens * 0.8) // TOKENS_STEP * TOKENS_STEP
    tokens = context.all_reduce_min(tokens) * context.size
    log.info('batch_tokens = "auto": %s units in %d processes', f"{tokens:,}", context.size)
    return tokens


def _peak_bytes(step: Step, tokens: int, device: torch.device) -> int:
    """Return the peak bytes of a step on `tokens` units in sentences of maximum length."""
    memory.reset_peak(device)
    step(random_batch(step, tokens), 0)
    for parameter in step.parameters:
        parameter.grad = None
    return memory.peak_bytes(device)


def random_batch(step: Step, tokens: int, length: int | None = None) -> TokenBatch:
    """Make about `tokens` random units, in sentences of `length` units (None: max_sentence_length)."""
    config = step.bilm.config
    length = 2 + (config.max_sentence_length if length is None else length)
    generator = torch.Generator().manual_seed(derive_seed(0, "budget"))
    shape = (max(1, tokens // length), length)
    units = torch.randint(len(SPECIALS), len(step.bilm.vocab), shape, generator=generator)
    units[:, 0], units[:, -1] = BOS, EOS
    types = None
    if config.token_encoder != "embedding":
        distinct, type_ids = np.unique(units, return_inverse=True)
        characters = np.full((len(distinct), config.max_characters_per_token + 2), CHAR_UNK, dtype=np.int64)
        types = type_ids.reshape(shape), characters
    batch = make_batch(step.bilm.vocab, units.numpy(), np.full(shape[0], length, dtype=np.int64), types)
    return batch if step.label_head is None else LabelledBatch(**vars(batch), labels=torch.zeros_like(units))

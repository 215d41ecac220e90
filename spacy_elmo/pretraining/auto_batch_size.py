"""Find the largest batch that fits into memory, for batch_tokens = "auto"."""

import logging

import torch

from ..modeling.token_encoder import TokenBatch
from ..modeling.vocab import BOS, CHAR_UNK, EOS, SPECIALS
from ..seeds import derive_seed
from . import memory
from .distributed import DistributedContext
from .optim import Step
from .step.cuda_graphs import CUDAGraphTrainStep

log = logging.getLogger("spacy_elmo")

MEMORY_MARGIN = 0.15  # share of memory to leave free, for other batch shapes and other users
MAX_BATCH_TOKENS = 2**16  # units per process; larger steps learn less from each unit
PROBE_TOKENS = (1024, 4096)  # units of the two measured batches


def find_max_batch_tokens(step: Step, world: DistributedContext) -> int:
    """Return the units of a batch over all processes, from two measured steps on random units.

    The memory of a step grows linearly with the number of units. Adam's two values per weight, which these
    steps do not allocate, are added. On a GPU the result is tried, and lowered until it fits.
    """
    state = sum(p.numel() for p in step.bilm.parameters()) * (8 if world.size == 1 else 12)
    if isinstance(step, CUDAGraphTrainStep):  # graphs write gradients to their own buffers
        state += sum(p.numel() for p in step.bilm.parameters()) * 4
        step = step.plain
    small, large = (_peak_bytes(step, n, world.device) for n in PROBE_TOKENS)
    slope = (large - small) / (PROBE_TOKENS[1] - PROBE_TOKENS[0])
    free = (
        memory.available_bytes(world.device) * (1 - MEMORY_MARGIN) - state - (small - slope * PROBE_TOKENS[0])
    )
    tokens = (
        MAX_BATCH_TOKENS
        if slope <= 0
        else max(PROBE_TOKENS[0], min(MAX_BATCH_TOKENS, int(free / slope) // 256 * 256))
    )
    while world.device.type == "cuda" and tokens > PROBE_TOKENS[0]:
        try:
            _peak_bytes(step, tokens, world.device)
            break
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            tokens = int(tokens * 0.8) // 256 * 256
    tokens = world.all_reduce_min(tokens) * world.size
    log.info('batch_tokens = "auto": %s units in %d processes', f"{tokens:,}", world.size)
    return tokens


def _peak_bytes(step: Step, tokens: int, device: torch.device) -> int:
    """Return the peak bytes of a step on `tokens` units in sentences of maximum length."""
    memory.reset_peak(device)
    step(random_batch(step, tokens), 0)
    for parameter in step.bilm.parameters():
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
    batch = TokenBatch(units, torch.full(shape[:1], length))
    if config.token_encoder != "embedding":
        distinct, batch.type_ids = units.unique(return_inverse=True)
        batch.type_char_ids = torch.full((len(distinct), config.max_characters_per_token + 2), CHAR_UNK)
    if config.n_ngrams:
        batch.ngram_ids = torch.from_numpy(step.bilm.vocab.ngram_rows(units.numpy()))
    return batch

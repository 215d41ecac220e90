"""batch_tokens = "auto": the largest batch that fits the memory, with a margin."""

import logging

import torch

from ..bilm.embed import Batch
from ..bilm.graphs import GraphedStep
from ..bilm.seeds import derive_seed
from ..bilm.vocab import BOS, CHAR_UNK, EOS, SPECIALS
from . import memory
from .schedule import Step
from .world import World

log = logging.getLogger("spacy_elmo")

MARGIN = 0.15  # of the memory stays free: other shapes of batch, other users
LARGEST = 2**16  # units a process; larger steps learn less from each unit
PROBES = (1024, 4096)  # units of the batches that are measured


def find_batch_tokens(step: Step, world: World) -> int:
    """Units of a batch over all processes, found by two steps of each process on units at random.

    What a step needs grows by the same number of bytes for each unit; Adam's two numbers a weight, which
    these steps do not make, are added. On a GPU the result is tried, and lowered until it fits.
    """
    state = sum(p.numel() for p in step.bilm.parameters()) * (8 if world.size == 1 else 12)
    if isinstance(step, GraphedStep):  # a graph writes gradients to a place of its own
        state += sum(p.numel() for p in step.bilm.parameters()) * 4
        step = step.plain
    small, large = (_cost(step, n, world.device) for n in PROBES)
    slope = (large - small) / (PROBES[1] - PROBES[0])
    free = memory.limit(world.device) * (1 - MARGIN) - state - (small - slope * PROBES[0])
    tokens = LARGEST if slope <= 0 else max(PROBES[0], min(LARGEST, int(free / slope) // 256 * 256))
    while world.device.type == "cuda" and tokens > PROBES[0]:
        try:
            _cost(step, tokens, world.device)
            break
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            tokens = int(tokens * 0.8) // 256 * 256
    tokens = world.smallest(tokens) * world.size
    log.info('batch_tokens = "auto": %s units in %d processes', f"{tokens:,}", world.size)
    return tokens


def _cost(step: Step, tokens: int, device: torch.device) -> int:
    """Peak bytes of a step on `tokens` units in the longest sentences that there are."""
    memory.reset_peak(device)
    step(random_batch(step, tokens), 0)
    for parameter in step.bilm.parameters():
        parameter.grad = None
    return memory.peak(device)


def random_batch(step: Step, tokens: int) -> Batch:
    """About `tokens` units at random in sentences of the greatest length, at least one."""
    config = step.bilm.config
    length = config.max_sentence + 2
    generator = torch.Generator().manual_seed(derive_seed(0, "budget"))
    shape = (max(1, tokens // length), length)
    units = torch.randint(len(SPECIALS), len(step.bilm.vocab), shape, generator=generator)
    units[:, 0], units[:, -1] = BOS, EOS
    batch = Batch(units, torch.full(shape[:1], length))
    if config.encoder != "table":
        distinct, batch.forms = units.unique(return_inverse=True)
        batch.characters = torch.full((len(distinct), config.max_characters + 2), CHAR_UNK)
    if config.ngrams:
        batch.ngrams = torch.from_numpy(step.bilm.vocab.ngram_rows(units.numpy()))
    return batch

"""The seed of every random generator of this package, from one place."""

import zlib

import numpy as np


def derive_seed(seed: int, purpose: str, *, rank: int = 0, step: int = 0) -> int:
    """The seed of a generator, 0 to 2**63 - 1: other arguments, another stream.

    seed: of the run, or another result of this function. purpose: what is drawn. rank: of the process. step:
    of the run, or the number of the epoch. numpy's SeedSequence mixes them into all bits, since torch's
    generator on a CPU (mt19937) takes the lower 32 alone.
    """
    words = [half for number in (seed, rank, step) for half in (number & 0xFFFFFFFF, number >> 32)]
    mixed = np.random.SeedSequence([*words, zlib.crc32(purpose.encode("utf8"))])
    return int(mixed.generate_state(1, np.uint64)[0]) >> 1

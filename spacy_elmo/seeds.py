"""Derive the seeds of all random generators of this package."""

import zlib

import numpy as np


def derive_seed(seed: int, purpose: str, *, rank: int = 0, step: int = 0) -> int:
    """Return the seed of a generator, 0 to 2**63 - 1. Different arguments give different streams.

    seed: seed of the run, or a result of this function. purpose: what is drawn. rank: rank of the process.
    step: step of the run, or number of the epoch. NumPy's SeedSequence mixes the arguments into all bits,
    because torch's CPU generator (mt19937) uses only the lower 32.
    """
    words = [half for number in (seed, rank, step) for half in (number & 0xFFFFFFFF, number >> 32)]
    mixed = np.random.SeedSequence([*words, zlib.crc32(purpose.encode("utf8"))])
    return int(mixed.generate_state(1, np.uint64)[0]) >> 1

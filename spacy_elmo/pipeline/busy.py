"""Warn, when a training begins, that other programs use the processors, which makes torch's threads slow."""

import os

import torch
from spacy.util import logger


def warn_when_busy() -> None:
    """Log a warning if torch has several threads and more programs want to run than there are processors.

    A thread of torch that has finished its part of a product spins until all have. Where another program
    takes the processor of one of them, the others use theirs for nothing, in each of thousands of products.
    """
    n_threads, n_processors = torch.get_num_threads(), os.cpu_count() or 1
    if n_threads == 1 or os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive":
        return
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # not on Windows
    if load > 1.5 * n_processors:
        logger.warning(
            f"Other programs use the processors (load {load:.1f} on {n_processors}), and torch's {n_threads} "
            "threads would wait for each other most of the time: stop, and train with OMP_NUM_THREADS=1."
        )

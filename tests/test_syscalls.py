"""Calls to the operating system and the C library."""

import ctypes
import platform
import sys

import pytest

from spacy_elmo.syscalls import release_freed_memory

BLOCK, N_BLOCKS = 2**16, 3200  # 200 MB in blocks that malloc does not map one by one


def resident_mb():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="needs glibc and /proc"
)
def test_freed_blocks_below_a_block_in_use_are_returned_to_the_system():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(BLOCK) for _ in range(N_BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    *freed, pin = blocks
    for block in freed:
        libc.free(block)
    before = resident_mb()
    release_freed_memory()
    after = resident_mb()
    libc.free(pin)
    assert after < before - 150

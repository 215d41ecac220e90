"""How much memory this process took, and how much it may take."""

import os
from contextlib import suppress
from pathlib import Path

import torch

# oneDNN and PyTorch's part of it keep the code of each shape of product, 1,024 of them each: gigabytes after
# some thousand batches, which have all shapes. They read these when they are first used.
CACHES = {"LRU_CACHE_CAPACITY": "64", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128"}


def limit_onednn_caches() -> None:
    """Keep few of oneDNN's shapes, unless the environment says how many."""
    for name, capacity in CACHES.items():
        os.environ.setdefault(name, capacity)


def reset_peak(device: torch.device) -> None:
    """Begin to measure the peak anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # Linux only; elsewhere the peak is that of the whole run
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """The most bytes that were in use since reset_peak; 0 where nobody knows.

    On a GPU what torch holds: what one stream has freed is no room for another.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return _proc("self/status", "VmHWM")


def available_bytes(device: torch.device) -> int:
    """Bytes that this process may have in use, what it has already included; 0 where nobody knows.

    On a machine that several processes of the run share, this one's part.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    used, free = _proc("self/status", "VmRSS"), _proc("meminfo", "MemAvailable")
    with suppress(OSError, ValueError):  # a container's bound, unless it says "max"
        bound = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free = min(free, bound - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return used + free // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if free > 0 else 0


def _proc(name: str, key: str) -> int:
    with suppress(OSError, ValueError):
        for line in Path("/proc", name).read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0

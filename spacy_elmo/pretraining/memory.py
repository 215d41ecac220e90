"""Measure and limit the memory of this process."""

import os
from contextlib import suppress
from pathlib import Path

import torch

# oneDNN and its cache in PyTorch keep the code for 1,024 shapes of products each: gigabytes after some
# thousand batches of different shapes. They read these variables at first use.
CACHES = {"LRU_CACHE_CAPACITY": "64", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128"}


def limit_onednn_caches() -> None:
    """Limit oneDNN's caches of shapes, unless the environment sets their capacity."""
    for name, capacity in CACHES.items():
        os.environ.setdefault(name, capacity)


def reset_peak(device: torch.device) -> None:
    """Reset the measurement of the peak."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # Linux only; elsewhere the peak is that of the whole run
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """Return the peak bytes since reset_peak; 0 if unknown.

    On a GPU this is the memory that torch reserves, because memory freed on one stream cannot be used by
    another.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return _proc("self/status", "VmHWM")


def available_bytes(device: torch.device) -> int:
    """Return the bytes that this process may use, including its current use; 0 if unknown.

    If several processes of the run share a machine, the free memory is divided among them.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    used, free = _proc("self/status", "VmRSS"), _proc("meminfo", "MemAvailable")
    with suppress(OSError, ValueError):  # the limit of a container, unless it is "max"
        bound = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free = min(free, bound - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return used + free // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if free > 0 else 0


def _proc(name: str, key: str) -> int:
    with suppress(OSError, ValueError):
        for line in Path("/proc", name).read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0

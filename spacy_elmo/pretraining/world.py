"""One process or many: torch's own distributed engine, as `torchrun` starts it. Alone, a world of one."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from ..bilm.errors import ElmoError

BUCKET = 2**24  # numbers that are summed over the processes at once
TIMEOUT = timedelta(minutes=10)  # for a process that hangs; one that dies is noticed at once


class WorldError(ElmoError):
    """A process of the run that is missing or lost."""


@dataclass(frozen=True)
class World:
    """The processes of a run, each with the same weights and a share of every batch.

    rank: of this process. size: how many there are. device: where this one computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes files and speaks."""
        return self.rank == 0

    def add_up(self, values: Sequence[float]) -> list[float]:
        """The sum of each number over all processes."""
        if self.size == 1:
            return list(values)
        summed = torch.tensor(values, dtype=torch.float64)
        self._together(dist.all_reduce, summed)
        return summed.tolist()

    def smallest(self, value: int) -> int:
        """The smallest of all processes' values."""
        return min(int(t) for t in self.gather(torch.tensor(value)))

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, of one shape and on the CPU, by rank."""
        if self.size == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        self._together(dist.all_gather, found, tensor)
        return found

    def sum_gradients(self, parameters: Sequence[Tensor], share: float) -> None:
        """Replace every gradient by the sum over all processes of `share` times their gradients."""
        if self.size == 1:
            return
        for bucket in _buckets(parameters):
            flat = torch.cat([_gradient(p).flatten() for p in bucket]).mul_(share)
            self._together(dist.all_reduce, flat)
            parts = flat.split([p.numel() for p in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter).clone()

    def wait(self) -> None:
        """Return when all processes are here."""
        self.add_up([0.0])

    def _together(self, collective: Callable, *args: Any) -> None:
        try:
            collective(*args)
        except RuntimeError as error:  # what torch raises for a connection that is lost or times out
            raise WorldError(
                f"Process {self.rank} of {self.size} lost another one, which died or hangs: see its message. "
                "The same command goes on from the last checkpoint; torchrun --max-restarts gives it again."
            ) from error


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _buckets(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for parameter in parameters:
        bucket.append(parameter)
        if sum(p.numel() for p in bucket) >= BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


@contextmanager
def join() -> Iterator[World]:
    """The world that torchrun's environment describes: gloo between CPUs, NCCL between GPUs.

    Without torchrun: one process, on the first GPU or on the CPU.
    """
    rank, size, local = (int(os.environ.get(k, d)) for k, d in _PLACE.items())
    device = torch.device("cpu")
    if torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise WorldError(
                f"Process {rank} has no GPU: this machine has {torch.cuda.device_count()}; give torchrun "
                f"--nproc-per-node {torch.cuda.device_count()}."
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if size == 1:
        yield World(device=device)
        return
    try:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WorldError(f"Process {rank} of {size} did not find the others: {reason}") from error
    yield World(rank, size, device)
    dist.destroy_process_group()  # not after an error: it would wait for the others


_PLACE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}

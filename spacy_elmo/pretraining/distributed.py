"""Train in one process or many, with torch.distributed as `torchrun` starts it."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from ..batching import minibatch_by_size
from ..errors import DistributedError
from ..inference.bilm import BiLM

BUCKET_NUMEL = 2**24  # values per all-reduce
TIMEOUT = timedelta(minutes=10)  # for a process that hangs; one that dies is noticed at once

STORE_PORT = "spacy_elmo/store_port"


@dataclass(frozen=True)
class DistributedContext:
    """The processes of a run, each with the same weights and a share of every batch.

    rank: rank of this process. size: number of processes. device: device of this process.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """True on rank 0, the only process that writes files and logs."""
        return self.rank == 0

    def all_reduce_sum(self, values: Sequence[float]) -> list[float]:
        """Return the sum of each value over all processes."""
        if self.size == 1:
            return list(values)
        summed = torch.tensor(values, dtype=torch.float64)
        self._together(dist.all_reduce, summed)
        return summed.tolist()

    def all_reduce_min(self, value: int) -> int:
        """Return the smallest value of all processes."""
        return min(int(t) for t in self.all_gather(torch.tensor(value)))

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all processes, which have one shape and are on the CPU, by rank."""
        if self.size == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        self._together(dist.all_gather, found, tensor)
        return found

    def all_reduce_gradients(self, parameters: Sequence[Tensor], share: float) -> None:
        """Replace every gradient by the sum over all processes of `share` times their gradients."""
        if self.size == 1:
            return
        for bucket in minibatch_by_size(parameters, BUCKET_NUMEL, Tensor.numel):
            flat = torch.cat([_gradient(p).flatten() for p in bucket]).mul_(share)
            self._together(dist.all_reduce, flat)
            parts = flat.split([p.numel() for p in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter).clone()

    def share_weights(self, bilm: BiLM, labels: str | None = None) -> None:
        """Copy the weights of rank 0 to all processes.

        Each process has initialised its own weights. Different processors round differently, and replicas
        that differ at the start stay different. labels: digest of the labels of units; None: no labels.
        Raises a DistributedError if the sizes, vocabularies or labels differ.
        """
        if self.size == 1:
            return
        vocab = bilm.vocab
        lists = [vocab.units, vocab.characters, vocab.ngrams, vocab.static]
        digest = sha256(json.dumps([bilm.config.to_dict(), labels, *lists]).encode("utf8")).digest()
        first, *others = self.all_gather(torch.frombuffer(bytearray(digest), dtype=torch.uint8))
        if not all(torch.equal(first, other) for other in others):
            raise DistributedError(
                "The processes built different models: give each of them the same corpus, labels, "
                "settings and version of spacy-elmo."
            )
        self.broadcast(bilm.state_dict().values())

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors, equal in number and shape in all processes, with those of rank 0."""
        if self.size == 1:
            return
        with torch.no_grad():
            for tensor in tensors:
                shared = tensor.detach().cpu().contiguous()
                self._together(dist.broadcast, shared, 0)
                tensor.copy_(shared)

    def barrier(self) -> None:
        """Wait until all processes have called this method."""
        self.all_reduce_sum([0.0])

    def _together(self, collective: Callable[..., Any], *args: Any) -> None:
        try:
            collective(*args)
        except RuntimeError as error:  # what torch raises for a connection that is lost or times out
            raise DistributedError(
                f"Process {self.rank} of {self.size} lost contact with another, which died or hangs: see its "
                "message. Run the same command to continue from the last checkpoint, or use torchrun "
                "--max-restarts."
            ) from error


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


@contextmanager
def init_distributed() -> Iterator[DistributedContext]:
    """Yield the context that torchrun's environment describes: gloo between CPUs, NCCL between GPUs.

    Without torchrun: one process, on the first GPU or on the CPU. Raises a DistributedError if the
    environment is not torchrun's, or if the processes cannot connect.
    """
    rank, size, local = (_read_number(name, default) for name, default in _PLACE.items())
    device = torch.device("cpu")
    if torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise DistributedError(
                f"Process {rank} has no GPU, because this machine has {torch.cuda.device_count()}: give "
                f"torchrun --nproc-per-node {torch.cuda.device_count()}."
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if size == 1:
        yield DistributedContext(device=device)
        return
    try:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            store = _fresh_store(rank)
            dist.init_process_group(backend, timeout=TIMEOUT, store=store, rank=rank, world_size=size)
        else:
            dist.init_process_group(backend, timeout=TIMEOUT)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DistributedError(
            f"Process {rank} of {size} could not connect to the others: {reason}"
        ) from error
    yield DistributedContext(rank, size, device)
    dist.destroy_process_group()  # not after an error: it would wait for the others


def _read_number(name: str, default: str) -> int:
    """Return the number in an environment variable. Raises a DistributedError if it holds anything else."""
    value = os.environ.get(name, default)
    try:
        return int(value)
    except ValueError as error:
        raise DistributedError(
            f"{name} = {value!r} is not a whole number: start the processes with torchrun, or unset {name}."
        ) from error


def _fresh_store(rank: int) -> dist.TCPStore:
    """Return a store for the processes of this attempt only, hosted by rank 0.

    torchrun keeps one store through all restarts, in which the addresses of dead processes are found before
    the new ones are written (torch 2.13). The restart count differs between machines, so it cannot be a key
    prefix. The old store therefore only holds the port of the fresh one; an outdated port leads nowhere, and
    is read again.
    """
    host = os.environ["MASTER_ADDR"]  # where rank 0 is
    agent = dist.TCPStore(host, int(os.environ["MASTER_PORT"]), is_master=False, timeout=TIMEOUT)
    if rank == 0:
        store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
        agent.set(STORE_PORT, str(store.port))
        return store
    end = time.monotonic() + TIMEOUT.total_seconds()
    while True:
        port = int(agent.get(STORE_PORT))
        try:
            socket.create_connection((host, port), timeout=5).close()
            return dist.TCPStore(host, port, is_master=False, timeout=TIMEOUT)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


_PLACE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}

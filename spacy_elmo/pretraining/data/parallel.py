"""Run a function over many inputs with joblib: serially, in local processes, or on Dask or Ray."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ...errors import ConfigError, WorkerError

BACKENDS = ("loky", "dask", "ray")


def parallel_map(
    function: Callable[..., Any],
    calls: Iterable[tuple[Any, ...]],
    *,
    n_process: int = 1,
    backend: str = "loky",
) -> Iterator[Any]:
    """Yield the results of function(*call) for each of `calls`, in any order.

    Args:
        function: Function to call.
        calls: Arguments of each call. They are read as workers become free, so that few are in memory.
        n_process: Number of processes; 1: only this one; -1: one per core.
        backend: "loky" (this machine), "dask" (the cluster of DASK_SCHEDULER_ADDRESS) or "ray" (the cluster
            of RAY_ADDRESS).

    Raises:
        ConfigError: n_process is neither -1 nor at least 1.
        WorkerError: The backend is not available, or a worker died. Errors of a call or of `calls` are raised
            unchanged.
    """
    if backend not in BACKENDS:
        raise WorkerError(f'The backend "{backend}" is not known: use {", ".join(BACKENDS)}.')
    if n_process < 1 and n_process != -1:
        raise ConfigError(f"n_process = {n_process} is not valid: use 1 or more, or -1.")
    if n_process == 1 and backend == "loky":
        yield from (function(*call) for call in calls)
        return
    import joblib

    source = _Source(calls)
    work = (joblib.delayed(function)(*call) for call in source)
    options = {"n_jobs": n_process, "pre_dispatch": "2*n_jobs"}
    try:
        with _cluster(backend), joblib.parallel_config(backend=backend):
            if backend == "ray":  # returns its results only as lists
                wave = 4 * joblib.effective_n_jobs(n_process)
                while tasks := list(islice(work, wave)):
                    yield from joblib.Parallel(**options)(tasks)
            else:
                yield from joblib.Parallel(return_as="generator_unordered", **options)(work)
    except BrokenProcessPool as error:
        raise WorkerError(
            "A worker process died, most often because memory ran out: lower n_process and run the same "
            "command to continue; finished parts are kept."
        ) from error
    if source.error is not None:
        raise source.error


class _Source:
    """Iterator over calls that stops at the first error and stores it.

    joblib reads the calls in a thread of its own, where an error would be lost.
    """

    def __init__(self, calls: Iterable[tuple[Any, ...]]):
        self._calls = iter(calls)
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self

    def __next__(self) -> tuple[Any, ...]:
        try:
            return next(self._calls)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise StopIteration from error


@contextmanager
def _cluster(backend: str) -> Iterator[None]:
    """Connect joblib to the cluster of a backend."""
    try:
        if backend == "dask":
            from dask.distributed import Client

            with Client():
                yield
            return
        if backend == "ray":
            from ray.util.joblib import register_ray

            register_ray()
    except ImportError as error:
        package = {"dask": "dask[distributed]"}.get(backend, backend)
        raise WorkerError(f'The backend "{backend}" is not installed: pip install "{package}".') from error
    yield

"""Provide locks that are free in forked children, and values that are built once under such a lock."""

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar
from weakref import ref

T = TypeVar("T")

_in_children: list[Callable[[], None]] = []
_locks: set[ref["ForkSafeLock"]] = set()


class ForkSafeLock:
    """Mutex for `with` that is free in a forked child, even if a thread of the parent held it.

    The guarded value must be valid at all times, because a fork may happen while another thread holds the
    lock: build the new value first, and assign it last. Copying or unpickling creates a new lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks.add(ref(self, _locks.discard))  # both are atomic, so they need no lock

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return ForkSafeLock, ()


class BuildOnce(Generic[T]):
    """Function without arguments that runs once per process; later calls return the same value."""

    def __init__(self, build: Callable[[], T]):
        self.__doc__ = build.__doc__
        self._build = build
        self._lock = ForkSafeLock()
        self._value: tuple[T] | None = None

    def __call__(self) -> T:
        """Return the value; the first call builds it."""
        built = self._value
        if built is None:
            with self._lock:
                built = self._value
                if built is None:
                    built = self._value = (self._build(),)
        return built[0]

    def cache_clear(self) -> None:
        """Drop the value, so that the next call builds it again."""
        self._value = None


def run_in_children(function: Callable[[], None]) -> None:
    """Register a function to be called in every child that this process forks.

    Repeated calls have no effect.
    """
    if function not in _in_children:
        _in_children.append(function)


def _begin_child() -> None:
    for reference in list(_locks):
        lock = reference()
        if lock is not None:
            lock._lock = threading.Lock()
    for function in _in_children:
        function()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)

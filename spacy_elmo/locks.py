"""Locks that a forked child gets anew, and values that are built once under such a lock."""

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
    """A mutex for `with`. A child of a fork finds it free, whoever held it in the parent.

    What it guards must be valid at every moment, for a fork by another thread may copy it half-way: build the
    new value first, and assign it last. A copy and a pickle are new locks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks.add(ref(self, _locks.discard))  # each in one step: no lock of its own is needed

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return ForkSafeLock, ()


class BuildOnce(Generic[T]):
    """A function without arguments that runs once in a process; later calls return the same value."""

    def __init__(self, build: Callable[[], T]):
        self.__doc__ = build.__doc__
        self._build = build
        self._lock = ForkSafeLock()
        self._value: tuple[T] | None = None

    def __call__(self) -> T:
        built = self._value
        if built is None:
            with self._lock:
                built = self._value
                if built is None:
                    built = self._value = (self._build(),)
        return built[0]

    def cache_clear(self) -> None:
        """Build again at the next call."""
        self._value = None


def run_in_children(function: Callable[[], None]) -> None:
    """Call a function in every child that this process forks from now on, once however often it is given."""
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

"""Progress bars with the time left. They are shown only inside `show_progress`, which the commands use."""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

DELAY = 1.0  # seconds before a bar appears
_visible: ContextVar[bool] = ContextVar("visible", default=False)


@contextmanager
def show_progress(visible: bool = True) -> Iterator[None]:
    """Show the bars of the code inside, in this thread."""
    token = _visible.set(visible)
    try:
        yield
    finally:
        _visible.reset(token)


@contextmanager
def progress_bar(
    description: str, total: float | None, unit: str = "steps", *, done: float = 0
) -> Iterator[Callable[[float], object]]:
    """Yield a function to call with the amount of work since its last call. The bar is removed at the end.

    total: amount of work; None: not known, so no time left is shown. unit: "B" for bytes, else a word that
    follows the number. done: work of an earlier run, which does not count in the speed.
    """
    with tqdm(
        desc=description,
        total=total,
        initial=done,
        unit=unit if unit == "B" else f" {unit}",
        unit_scale=True,
        unit_divisor=1024 if unit == "B" else 1000,
        delay=DELAY,
        leave=False,
        dynamic_ncols=True,
        disable=not _visible.get(),
    ) as bar:
        yield bar.update


def track(items: Iterable[T], description: str, total: int | None = None, unit: str = "steps") -> Iterator[T]:
    """Yield the items, with a bar. total: number of items; None: their length, if they have one."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(description, total, unit) as advance:
        for item in items:
            yield item
            advance(1)

"""Let threads meet often: what every test of concurrent use needs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def switch_often(seconds: float = 1e-5) -> Iterator[None]:
    """Let Python switch between threads after `seconds`, instead of 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)

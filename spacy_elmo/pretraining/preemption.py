"""Handle SIGTERM, which clusters send before they take a machine away."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class SigtermFlag:
    """Flag that tells whether SIGTERM was received."""

    def __init__(self) -> None:
        self.received = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.received = True

    def reraise(self) -> None:
        """End this process by the signal, with its default handler."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def catch_sigterm() -> Iterator[SigtermFlag]:
    """Record SIGTERM inside a `with` block, instead of terminating. Works only on the main thread."""
    heard = SigtermFlag()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = signal.signal(signal.SIGTERM, heard._take)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGTERM, before)

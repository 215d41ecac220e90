"""SIGTERM: what clusters send before they take a machine away."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class SigtermFlag:
    """Whether SIGTERM has come."""

    def __init__(self) -> None:
        self.received = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.received = True

    def reraise(self) -> None:
        """End this process as the signal would have."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def catch_sigterm() -> Iterator[SigtermFlag]:
    """Within it, SIGTERM does not end the process but is noted. Only the main thread can hear it."""
    heard = SigtermFlag()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = signal.signal(signal.SIGTERM, heard._take)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGTERM, before)

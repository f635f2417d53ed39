"""Handles Ctrl-C while a network trains."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED_BY_CTRL_C = "stopped by Ctrl-C"


@contextmanager
def ctrl_c_asks(stop: Callable[[str], None]) -> Iterator[None]:
    """Call stop(STOPPED_BY_CTRL_C) at the first Ctrl-C; a second one interrupts at once. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)

    def ask(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, previous)
        stop(STOPPED_BY_CTRL_C)

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)

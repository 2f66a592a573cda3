"""Ctrl-C as a flag, so that a step is never cut in half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol


class Flag(Protocol):
    """Whether to end after the step at hand."""

    def is_set(self) -> bool: ...


@contextmanager
def interruption() -> Generator[threading.Event]:
    """Turns the first Ctrl-C into a flag; the second acts as usual. Only the main thread can be told."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = signal.getsignal(signal.SIGINT)

    def note(signum: int, frame: object) -> None:
        flag.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)

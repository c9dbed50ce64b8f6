"""Ctrl-C and SIGTERM end a training at the next whole iteration."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class TrainingStopped(Exception):
    """A signal asked the training to stop, and its checkpoint is safe."""


class StopRequest:
    """Remembers that a signal came; a second one interrupts at once."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Listen to SIGINT and SIGTERM inside the block; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

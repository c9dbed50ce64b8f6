"""How scripts stop early: errors as one line, Ctrl-C and SIGTERM."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from ldm_wrappers import TaskChangedError
from train.common.guard import WorkerError


class TrainingStopped(Exception):
    """The training stopped on a signal, after writing its checkpoint."""


class StopRequest:
    """Remembers that a signal was received; a second one interrupts at once."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name
        said = f"\n{self.signal}: stopping after the current iteration; repeat to stop at once\n"
        os.write(2, said.encode())  # a handler must not wait for a stream that it interrupted

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM inside the block, in the main thread only."""
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


@contextlib.contextmanager
def report_errors(interrupted: str = "interrupted") -> Iterator[None]:
    """Turn errors that a user can fix into one line and exit status 1, and Ctrl-C into 130.

    Args:
        interrupted: Message after Ctrl-C, such as how to continue, unless the exception has one.

    With ``LDM_TRACEBACK=1`` in the environment, errors keep their tracebacks.
    """
    try:
        yield
    except Exception as error:
        message = _message(error)
        if message is None or os.environ.get("LDM_TRACEBACK"):
            raise
        # one line, in which paths keep their spaces
        print(" ".join(filter(None, map(str.strip, message.splitlines()))), file=sys.stderr)
        raise SystemExit(130 if isinstance(error, TrainingStopped) else 1) from None
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or interrupted, file=sys.stderr)
        raise SystemExit(130) from None


def _message(error: Exception) -> str | None:
    """The message for the user; ``None`` for errors of this package itself."""
    if isinstance(error, TrainingStopped):
        return f"stopped by {error}"
    if isinstance(error, OSError) and not isinstance(error, FileExistsError):
        file = f": {error.filename}" if error.filename else ""  # sockets and pipes have no name
        return f"error: {error.strerror or error}{file}"
    if isinstance(error, MemoryError):
        return f"error: not enough memory: {error}"
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):
        return f"error: not enough memory: {str(error).splitlines()[0]}"
    if isinstance(error, RuntimeError) and ("CUDA" in str(error) or "out of memory" in str(error)):
        return f"error: the GPU failed: {str(error).splitlines()[0]}"
    fixable = (
        ValueError, TypeError, FileExistsError, FloatingPointError, WorkerError, TaskChangedError,
    )  # fmt: skip
    return f"error: {error}" if isinstance(error, fixable) else None

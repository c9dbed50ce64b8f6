"""Makes other threads wait while a model is being trained."""

from __future__ import annotations

import os
import threading
from types import TracebackType


class UpdateLock:
    """A re-entrant lock that is held during updates of a model; copies have one of their own.

    An update runs in a thread of its own and continues after an exception in the main thread,
    such as Ctrl-C. Whoever needs the weights between two updates holds the lock. A forked process
    has nobody who would release it, and does not wait there.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owner = os.getpid()

    def __enter__(self) -> None:
        if self._owner == os.getpid():
            self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._owner == os.getpid():
            self._lock.release()

    def __reduce__(self) -> tuple[type[UpdateLock], tuple[()]]:
        return UpdateLock, ()

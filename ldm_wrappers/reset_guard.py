"""Notices steps before the first reset and after the end of a task."""

from __future__ import annotations

from gymnasium.error import ResetNeeded


class ResetGuard:
    """Whether an environment may be stepped.

    Environments that ``gym.make`` returns notice a step before the first reset; bare ones, and
    steps after an end, are left to the environment, and many go on as if nothing had happened. A
    wrapper that keeps records of a task would then keep wrong ones.

    Args:
        name: What messages call the wrapper.

    Attributes:
        running: A task has begun and has not ended.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._when = "before the first reset()"
        self.running = False

    def begin(self) -> None:
        """The environment has been reset."""
        self.running = True

    def check(self) -> None:
        """Raise unless a task is running.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset, or after an end.
        """
        if not self.running:
            raise ResetNeeded(f"{self._name}.step() was called {self._when}; call reset() first")

    def end(self) -> None:
        """The task has ended: it was terminated or truncated."""
        self.running = False
        self._when = "after the end of a task (terminated or truncated)"

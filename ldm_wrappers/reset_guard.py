"""Notices steps before the first reset and after the end of a task."""

from __future__ import annotations

from typing import Literal

from gymnasium.error import ResetNeeded

State = Literal["not begun", "running", "ended"]


class ResetGuard:
    """Whether an environment may be stepped.

    Environments that ``gym.make`` returns notice a step before the first reset; bare ones, and
    steps after an end, are left to the environment, and many go on as if nothing had happened. A
    wrapper that keeps records of a task would then keep wrong ones.

    Args:
        name: What messages call the wrapper.

    Attributes:
        state: "not begun", "running" or "ended"; a saved one may be set again.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.state: State = "not begun"

    def begin(self) -> None:
        """The environment has been reset."""
        self.state = "running"

    def check(self) -> None:
        """Raise unless a task is running.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset, or after an end.
        """
        if self.state == "not begun":
            raise ResetNeeded(
                f"{self._name}.step() was called before the first reset(); call reset() first"
            )
        if self.state == "ended":
            raise ResetNeeded(
                f"{self._name}.step() was called after the end of a task (terminated or "
                "truncated); call reset() first, and leave out gymnasium.wrappers.Autoreset inside"
            )

    def end(self) -> None:
        """The task has ended: it was terminated or truncated."""
        self.state = "ended"

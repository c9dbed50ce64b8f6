"""Notices steps before the first reset, after the end of a task and after an error."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

from gymnasium.error import ResetNeeded
from gymnasium.vector import SyncVectorEnv, VectorEnv

State = Literal["not begun", "running", "ended", "interrupted"]


class ResetGuard:
    """Whether an environment may be stepped.

    Environments that ``gym.make`` returns notice a step before the first reset; bare ones, and
    steps after an end, are left to the environment, and many continue as if nothing had happened. A
    wrapper that keeps records of a task would then keep wrong ones.

    Args:
        name: What messages call the wrapper.

    Attributes:
        state: "not begun", "running", "ended" or "interrupted"; a saved one may be set again.
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
            gymnasium.error.ResetNeeded: Before the first reset, after an end, or after an error.
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
        if self.state == "interrupted":
            raise ResetNeeded(
                f"{self._name}.step() was called after an error that had interrupted a step: what "
                "that step did is not in the wrapper's records; call reset() first"
            )

    def check_partial(self) -> None:
        """Raise where a reset of some environments of a batch would leave out others that need one.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset of all, or after an error.
        """
        due = {"not begun": "before the first reset", "interrupted": "after an error in a step"}
        if self.state in due:
            raise ResetNeeded(
                f"options['reset_mask'] leaves out environments {due[self.state]} of "
                f"{self._name}; call reset() for all of them first"
            )

    @contextmanager
    def recording(self) -> Iterator[None]:
        """The environment has stepped, the records have not: an error now asks for a reset."""
        try:
            yield
        except BaseException:
            self.state = "interrupted"
            raise

    def stepping(self, batch: VectorEnv[Any, Any, Any]) -> AbstractContextManager[None]:
        """Around a step of a batch: an error asks for a reset where others may have moved already.

        A batch that steps its environments at once is taken to refuse actions before any moves.
        """
        one_by_one = isinstance(batch.unwrapped, SyncVectorEnv) and batch.num_envs > 1
        return self.recording() if one_by_one else nullcontext()

    def end(self) -> None:
        """The task has ended: it was terminated or truncated."""
        self.state = "ended"


class CutWatch:
    """Warns once where resets find tasks that have not ended, one after the other.

    Args:
        what: What never ends and what follows from it, for the message.
    """

    N_RESETS = 5

    def __init__(self, what: str) -> None:
        self._what = what
        self._in_a_row = 0

    def end(self) -> None:
        """A task has ended by itself."""
        self._in_a_row = 0

    def cut(self) -> None:
        """A reset has found a task that was running."""
        self._in_a_row += 1
        if self._in_a_row == self.N_RESETS:
            warnings.warn(
                f"{self.N_RESETS} resets in a row came before an end: {self._what}. A limit "
                "outside, such as gymnasium.wrappers.TimeLimit or max_episode_steps of "
                "gymnasium.register, is not seen here: put TimeLimit around the environment, "
                "inside the wrappers of this package",
                stacklevel=4,
            )

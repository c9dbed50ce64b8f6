"""Detects steps before the first reset, after the end of a task and after an error."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import gymnasium as gym
from gymnasium.error import Error, ResetNeeded
from gymnasium.vector import SyncVectorEnv, VectorEnv

from ldm_wrappers.infos import MARK

State = Literal["not begun", "running", "ended", "interrupted"]
REFUSALS = (ValueError, TypeError, AssertionError, LookupError, Error)
"""What environments raise for an invalid action."""


class ResetGuard:
    """Whether an environment may be stepped.

    Environments made by ``gym.make`` refuse a step before the first reset. Bare ones may not, and
    many environments continue after the end of an episode as if nothing had happened. The records
    that a wrapper keeps of a task would then be wrong.

    Args:
        name: Name of the wrapper in messages.

    Attributes:
        state: "not begun", "running", "ended" or "interrupted"; a saved one may be restored.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._episode = 0
        self.state: State = "not begun"

    def begin(self) -> None:
        """The environment has been reset."""
        self._episode = 0
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
                "truncated); call reset() first, and use no gymnasium.wrappers.Autoreset inside"
            )
        if self.state == "interrupted":
            raise ResetNeeded(
                f"{self._name}.step() was called after an error interrupted a step or a reset, "
                "which is missing in the wrapper's records; call reset() first"
            )

    def check_partial(self) -> None:
        """Raise if a reset of some environments of a batch would leave out others that need one.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset of all, or after an error.
        """
        due = {"not begun": "before the first reset", "interrupted": "after an error"}
        if self.state in due:
            raise ResetNeeded(
                f"options['reset_mask'] leaves out environments {due[self.state]} of "
                f"{self._name}; call reset() for all of them first"
            )

    def check_restarts(self, info: dict[str, Any]) -> None:
        """Raise if a step of one environment has passed over a restart of ``MultiEpisodeWrapper``.

        Raises:
            ValueError: A wrapper inside has taken several steps at once.
        """
        if MARK not in info:
            return
        before, self._episode = self._episode, info["episode_index"]
        if self._episode != before + bool(info["episode_start"]):
            raise ValueError(hidden_restart(self._name, before, self._episode))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Context for updating records after an environment step; an error requires a reset."""
        try:
            yield
        except BaseException:
            self.state = "interrupted"
            raise

    @contextmanager
    def resetting(self) -> Iterator[None]:
        """Context for a reset; after an error in it, a running task may have been replaced."""
        try:
            yield
        except BaseException:
            if self.state == "running":
                self.state = "interrupted"
            raise

    @contextmanager
    def stepping(self, env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> Iterator[None]:
        """Context for a step of ``env``; an error requires a reset if something may have moved.

        A single environment, or a batch that steps its environments together, is assumed to raise
        ``REFUSALS`` of an action before it moves.
        """
        one_by_one = isinstance(env.unwrapped, SyncVectorEnv) and env.unwrapped.num_envs > 1
        try:
            yield
        except BaseException as error:
            if one_by_one or not isinstance(error, REFUSALS):
                self.state = "interrupted"
            raise

    def end(self) -> None:
        """The task has ended: it was terminated or truncated."""
        self.state = "ended"


def hidden_restart(name: str, before: int, after: int) -> str:
    """Message about a step of ``name`` that led from one inner episode into another."""
    return (
        f"one step of {name} led from inner episode {before} to {after} without showing its "
        "start: a wrapper around MultiEpisodeWrapper takes several steps at once, as frame "
        "skipping does, and hides restarts; put it around the environment, inside "
        "MultiEpisodeWrapper"
    )


class CutWatch:
    """Warns once if several resets in a row each cut a running task short.

    Args:
        what: Which tasks are cut short, or the consequence of this, for the message.
    """

    N_RESETS = 5

    def __init__(self, what: str) -> None:
        self._what = what
        self._in_a_row = 0

    def end(self) -> None:
        """A task has ended by itself."""
        self._in_a_row = 0

    def cut(self) -> None:
        """A reset has cut a running task."""
        self._in_a_row += 1
        if self._in_a_row == self.N_RESETS:
            warnings.warn(
                f"{self.N_RESETS} resets in a row came before an end: {self._what}. A limit "
                "outside, such as gymnasium.wrappers.TimeLimit or max_episode_steps of "
                "gymnasium.register, is not visible here: put TimeLimit around the environment, "
                "inside the wrappers of this package",
                stacklevel=4,
            )

"""Base of the adapters: the task protocol around an environment that does not have it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import RecordConstructorArgs

from ldm_envs.options import parse_scalar_reset
from ldm_envs.split import DrawsFromSplit
from ldm_envs.task_sets import FloatArray
from ldm_envs.task_table import Tasks, TaskTable
from ldm_envs.tasks import TaskDistribution

AnyEnv = gym.Env[Any, Any]
Success = str | Callable[[dict[str, Any]], Any]
_OPTIONS = ("task", "keep_task")


class TaskWrapper(DrawsFromSplit, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Base of the adapters: all of the task protocol except how a task is set.

    `reset(seed=...)` seeds the choice of tasks as well as the environment, from streams that do
    not overlap. `reset(options=...)` takes, in addition to the environment's own options:

    - "task": float32 (task_dim,), a task of the set "all" (see `TaskTable` for the vectors);
    - "keep_task": True starts a new episode of the current task.

    Otherwise a task of the split is drawn. Infos: `task`, float32 (task_dim,), at reset and step
    (the environment's own info of this name is kept as `environment_task`); `is_success` (bool)
    at step, if the environment reports success.

    Args:
        env: An environment whose task stays the same until another one is set.
        tasks: Split name -> its tasks, a list of anything or a `TaskSet`; "all" is their union
            unless it is given.
        split: Name of the set that tasks are drawn from.
        success: How a step reports success: an info key, or a function of the step's info. None
            means "is_success", or else "success", if the environment reports one of them.
        components: Name and unit of each component of a task vector, for messages and tables.
        recorded: Further arguments of a subclass, for its `spec`.

    Raises:
        ValueError: For an unknown split or tasks that do not fit; the message shows them.
    """

    def __init__(
        self,
        env: AnyEnv,
        tasks: Tasks,
        *,
        split: str = "train",
        success: Success | None = None,
        components: Sequence[str] | None = None,
        recorded: Mapping[str, Any] | None = None,
    ) -> None:
        common = {"tasks": tasks, "split": split, "success": success, "components": components}
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, **(recorded or {}), **common)
        super().__init__(env)
        self._table = TaskTable(tasks, components)
        self._set_split(split)
        self._success = success
        self._rng: np.random.Generator | None = None
        self._task: FloatArray | None = None
        self._started = False  # an episode of this task
        self._unseen = success if isinstance(success, str) else None  # a key not seen so far
        self._told: dict[str, Any] | None = None  # infos of the last step

    @property
    def task_distribution(self) -> TaskDistribution:
        """The family's task sets by split name."""
        return self._table.distribution

    @property
    def task(self) -> Any:
        """The current task, as it was given to the environment; None before the first reset."""
        return None if self._task is None else self._table.task(self._task)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Seed, choose the task, set it in the environment and start an episode of it.

        Raises:
            ValueError: For a task outside the set "all"; nothing has changed then.
        """
        own = {key: value for key, value in (options or {}).items() if key in _OPTIONS}
        others = {key: value for key, value in (options or {}).items() if key not in _OPTIONS}
        request = parse_scalar_reset(own, self.task_distribution)
        if seed is not None or self._rng is None:
            # a separate key: the environment's own generator is seeded with the seed itself, and
            # imaginary tasks with its first children
            self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0x7A5C,)))
        if request.task is not None:
            self._task = request.task
        elif not request.keep_task or self._task is None:
            self._task = self._draw_task(self._rng)
        self._warn_of_unseen_key()
        self._started = False
        observation, info = self._start(self.task, seed, others or None)
        self._started = True
        return observation, self._with_task(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step; infos gain `task` and, if success is reported, `is_success`.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset, or after one that failed.
        """
        if self._task is None or not self._started:
            raise ResetNeeded("Call reset() before step()")
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._told = info
        told = self._with_task(info)
        if callable(self._success):
            told["is_success"] = bool(self._success(info))
            return observation, reward, terminated, truncated, told
        if self._success:
            told.pop("is_success", None)  # the environment's own, which means something else
        for key in (self._success,) if self._success else ("is_success", "success"):
            if key in info:
                told["is_success"] = bool(info[key])
                self._unseen = None
                break
        return observation, reward, terminated, truncated, told

    def _with_task(self, info: dict[str, Any]) -> dict[str, Any]:
        own = {"environment_task": info["task"]} if "task" in info else {}
        assert self._task is not None
        return {**info, **own, "task": self._task.copy()}

    def _warn_of_unseen_key(self) -> None:
        """Warn once if no step of the first episode has reported the key given as `success`."""
        if self._unseen is None or self._told is None:
            return
        warnings.warn(
            f"no step so far has reported success={self._unseen!r}; the last one reported "
            f"{sorted(map(str, self._told))}. Unless {self.env} reports it only on success, no "
            "success will ever be counted; expected a key of a step's info, or a function of it",
            stacklevel=3,
        )
        self._unseen = None

    def _start(
        self, task: Any, seed: int | None, options: dict[str, Any] | None
    ) -> tuple[Any, dict[str, Any]]:
        """Set `task` in the environment and reset it."""
        raise NotImplementedError

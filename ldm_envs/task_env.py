"""Base of the scalar environments: a hidden task, drawn, pinned or kept at reset."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding

from ldm_envs.options import parse_scalar_reset, parse_seed
from ldm_envs.split import DrawsFromSplit
from ldm_envs.task_sets import FloatArray
from ldm_envs.tasks import TaskDistribution

ObsT = TypeVar("ObsT")
ActT = TypeVar("ActT")


class TaskEnv(DrawsFromSplit, gym.Env[ObsT, ActT], Generic[ObsT, ActT]):
    """Base of the scalar environments with a hidden task.

    Register a family with ``disable_env_checker=True``: from Gymnasium 1.4 on, its passive
    checker fails at the first step if the first `reset` raised an error.

    Attributes:
        task_distribution: The family's task sets by split name.
    """

    task_distribution: TaskDistribution

    _task: FloatArray | None = None
    _started = False

    def _begin_episode(self, seed: int | None, options: dict[str, Any] | None) -> None:
        """Seed, then choose the task: the first half of every `reset`.

        The generator is used only when a task is drawn, so a pinned or kept task leaves the
        stream to the start state.
        """
        try:
            request = parse_scalar_reset(options, self.task_distribution)
            checked_seed = None if seed is None else parse_seed(seed)
        except ValueError as error:
            if self._started or not _has_checker(self.spec):
                raise
            raise ValueError(
                f"{error} (make the environment again: Gymnasium's passive checker cannot step one "
                "whose first reset failed; gym.make(…, disable_env_checker=True) avoids this)"
            ) from None
        gym.Env.reset(self, seed=checked_seed)
        if request.task is not None:
            self._task = request.task
        elif not request.keep_task or self._task is None:
            self._task = self._draw_task(self.np_random)
        self._started = True

    def _current_task(self) -> FloatArray:
        """The task of the running episode (internal array: copy before handing it out)."""
        if not self._started or self._task is None:
            raise ResetNeeded("Call reset() before step(), render() or get_state()")
        return self._task

    def get_state(self) -> dict[str, Any]:
        """Everything that determines how this environment continues.

        Leaves are NumPy arrays or JSON-able values. Wrappers have their own state, which the
        caller must save too: the time limit's step count is `TimeLimit._elapsed_steps`.

        Raises:
            gymnasium.error.ResetNeeded: Before the first `reset`.
        """
        task = self._current_task()
        return {
            "rng": self.np_random.bit_generator.state,
            "seed": self.np_random_seed,
            "task": task.copy(),
            "physics": self._get_physics(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Restore a `get_state` dict; no `reset` is needed first."""
        task = self.task_distribution.validate(state["task"])
        rng, _ = seeding.np_random(0)
        rng.bit_generator.state = state["rng"]
        self._set_physics(state["physics"])
        self._np_random, self._np_random_seed = rng, state["seed"]
        self._task, self._started = task, True

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue, bit for bit, from what `get_state` returned on an equal environment."""
        self._restore(state)

    def _get_physics(self) -> dict[str, Any]:
        raise NotImplementedError

    def _set_physics(self, physics: dict[str, Any]) -> None:
        raise NotImplementedError

    def _task_info(self) -> dict[str, Any]:
        return {"task": np.array(self._current_task())}


def _has_checker(spec: EnvSpec | None) -> bool:
    """Whether `gym.make` puts its passive checker around environments of this id."""
    registered = None if spec is None else gym.registry.get(spec.id)
    return registered is not None and not registered.disable_env_checker

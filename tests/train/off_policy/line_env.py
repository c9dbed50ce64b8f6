"""The toy of the off-policy tests: a point on a line that does not know which end pays."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from ldm_envs import FiniteTaskSet, TaskDistribution, TaskEnv

HORIZON = 10


class Line(TaskEnv[Any, Any]):
    """x' = x + 0.2 a from 0, reward −|x' − g|; the goal g is −1 or 1, held out: 0.5."""

    task_distribution = TaskDistribution(
        {
            "train": FiniteTaskSet([[-1.0], [1.0]]),
            "eval": FiniteTaskSet([[0.5]]),
            "all": FiniteTaskSet([[-1.0], [0.5], [1.0]]),
        },
        ("g",),
    )
    observation_space = gym.spaces.Box(-3.0, 3.0, (1,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, split: str = "train") -> None:
        self._set_split(split)
        self.x, self.t = 0.0, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self._begin_episode(seed, options)
        self.x, self.t = 0.0, 0
        return np.array([self.x], np.float32), self._task_info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.x += 0.2 * float(action[0])
        self.t += 1
        reward = -abs(self.x - float(self._current_task()[0]))
        shown = np.array([self.x], np.float32)
        return shown, reward, False, self.t == HORIZON, self._task_info()


def line(split: str = "train") -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(Line(split), HORIZON)


class Jittery(Line):
    """Is moved by what a global generator draws."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.x += 0.05 * float(np.random.standard_normal())
        return super().step(action)


def jittery(split: str = "train") -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(Jittery(split), HORIZON)


class Brief(Line):
    """Ends after the first step where the goal is negative."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        shown, reward, _, truncated, info = super().step(action)
        return shown, reward, float(self._current_task()[0]) < 0.0, truncated, info


def brief(split: str = "train") -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(Brief(split), HORIZON)


class Unbounded(Line):
    """Leaves the end of an episode to a wrapper."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        shown, reward, terminated, _, info = super().step(action)
        return shown, reward, terminated, False, info


def longer(split: str = "train") -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(Unbounded(split), 2 * HORIZON)

"""A point on a plane that does not know its goal: the family that settings are tried on."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from ldm_envs import FiniteTaskSet, TaskDistribution, TaskEnv

HORIZON = 5


class Plane(TaskEnv[Any, Any]):
    """x' = x + gain · a from a random start, reward −|x' − g|."""

    _train, _eval = [[-1.0, 0.0], [1.0, 0.3], [0.2, 1.0]], [[0.5, 0.5], [-0.3, 0.4]]
    task_distribution = TaskDistribution(
        {
            "train": FiniteTaskSet(_train),
            "eval": FiniteTaskSet(_eval),
            "all": FiniteTaskSet([*_train, *_eval]),
        },
        ("g", "h"),
    )
    observation_space = gym.spaces.Box(-3.0, 3.0, (2,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, split: str = "train", gain: float = 0.4) -> None:
        self._set_split(split)
        self.gain, self.x = gain, np.zeros(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self._begin_episode(seed, options)
        self.x = self.np_random.uniform(-0.1, 0.1, 2)
        return self.x.astype(np.float32), self._task_info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.x = np.clip(self.x + self.gain * np.clip(action, -1.0, 1.0), -3.0, 3.0)
        reward = -float(np.abs(self.x - self._current_task()).sum())
        return self.x.astype(np.float32), reward, False, False, self._task_info()


def plane(split: str = "train", gain: float = 0.4) -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(Plane(split, gain), HORIZON)

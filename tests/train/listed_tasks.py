"""Families of pendulums whose lists of lengths a test may change between two sittings."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from ldm_envs import TaskAttributeWrapper, TaskMethodWrapper

HORIZON = 10
TASKS: dict[str, Any] = {"train": [0.5, 0.8, 1.2, 1.5], "test": [1.0, 0.9]}
OTHERS: dict[str, Any] = {"train": [0.5], "test": [1.1, 1.3]}


def pendulum(split: str = "train") -> gym.Env[Any, Any]:
    env = gym.make("Pendulum-v1", max_episode_steps=HORIZON)
    return TaskAttributeWrapper(env, TASKS, "l", split=split)


def other(split: str = "train") -> gym.Env[Any, Any]:
    env = gym.make("Pendulum-v1", max_episode_steps=HORIZON)
    return TaskAttributeWrapper(env, OTHERS, "l", split=split)


def reached(split: str = "train") -> gym.Env[Any, Any]:
    """Goals, of which the environment refuses the last test task."""
    return TaskMethodWrapper(_Goals(), {"train": [[0, 1]], "test": [[1, 1], [9, 9]]}, split=split)


def goals(split: str = "train") -> gym.Env[Any, Any]:
    return TaskMethodWrapper(_Goals(), {"train": [[0, 1], [1, 0]]}, split=split)


def spheres(split: str = "train") -> gym.Env[Any, Any]:
    """Goals with a radius as well."""
    return TaskMethodWrapper(_Goals(), {"train": [[0, 1, 2]], "test": [[1, 1, 2]]}, split=split)


class _Goals(gym.Env[Any, Any]):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def set_task(self, task: Any) -> None:
        if max(task) > 5:
            raise RuntimeError(f"goal {list(task)} is outside of the arena")
        self.goal = np.asarray(task[:2], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = np.zeros(2, np.float32)
        return self.place.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place += np.asarray(action, np.float32)
        return self.place.copy(), -float(np.abs(self.place - self.goal).sum()), False, False, {}

"""Families of pendulums whose lists of lengths a test may change between two sittings."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from ldm_envs import TaskAttributeWrapper

HORIZON = 10
TASKS: dict[str, Any] = {"train": [0.5, 0.8, 1.2, 1.5], "test": [1.0, 0.9]}
OTHERS: dict[str, Any] = {"train": [0.5], "test": [1.1, 1.3]}


def pendulum(split: str = "train") -> gym.Env[Any, Any]:
    env = gym.make("Pendulum-v1", max_episode_steps=HORIZON)
    return TaskAttributeWrapper(env, TASKS, "l", split=split)


def other(split: str = "train") -> gym.Env[Any, Any]:
    env = gym.make("Pendulum-v1", max_episode_steps=HORIZON)
    return TaskAttributeWrapper(env, OTHERS, "l", split=split)

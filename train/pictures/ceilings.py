"""Best possible returns of tasks that are known, where a closed form exists."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from ldm_envs.grid_navi import GOAL_REWARD, STEP_REWARD, GridNaviEnv

Array = np.ndarray[Any, np.dtype[Any]]


def best_returns(env_id: str, tasks: Array | None) -> Array | None:
    """Best return of one episode per task when the task is known, ``None`` without a formula.

    The grid's agent walks d steps to its goal and stays: d − 1 steps off the goal, the rest on
    it.

    Args:
        env_id: A registered id.
        tasks: float32 (n_tasks, task_dim).
    """
    env = gym.make(env_id)
    known = isinstance(env.unwrapped, GridNaviEnv)
    horizon = gym.spec(env_id).max_episode_steps
    env.close()
    if not known or tasks is None or horizon is None:
        return None
    start = np.zeros(tasks.shape[-1])
    distance = np.abs(tasks - start).sum(-1)
    walking = np.minimum(np.maximum(distance - 1, 0), horizon)
    return np.asarray(walking * STEP_REWARD + (horizon - walking) * GOAL_REWARD)

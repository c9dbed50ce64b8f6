"""Closed-form returns of known tasks, for the optimal policy and for standing still."""

from __future__ import annotations

from typing import Any

import numpy as np

from ldm_envs.ant import SURVIVE_REWARD, AntDirEnv, AntGoalEnv, goal_xy
from ldm_envs.grid_navi import GridNaviEnv
from ldm_envs.grid_rules import GOAL_REWARD, STEP_REWARD
from ldm_envs.half_cheetah import HalfCheetahVelEnv
from train.common.env_source import EnvSource

Array = np.ndarray[Any, np.dtype[Any]]


def straight_returns(distance: Array, horizon: int, goal: Any, step: Any) -> Array:
    """Return of walking d steps to a cell and staying: d − 1 steps off the cell, the rest on it.

    Args:
        distance: Steps d to the cell.
        horizon: Steps of the episode.
        goal: Reward on the cell, broadcast with ``distance``.
        step: Reward off the cell, likewise.
    """
    walking = np.minimum(np.maximum(distance - 1, 0), horizon)
    return np.asarray(walking * step + (horizon - walking) * goal)


def optimal_returns(source: EnvSource, tasks: Array | None) -> Array | None:
    """Best return of one episode per task if the task is known, ``None`` without a formula.

    Args:
        source: Source of the environments.
        tasks: float32 (n_tasks, task_dim).
    """
    env = source.make()
    known = isinstance(env.unwrapped, GridNaviEnv)
    horizon = source.facts().horizon
    env.close()
    if not known or tasks is None or horizon is None:
        return None
    start = np.zeros(tasks.shape[-1])
    distance = np.abs(tasks - start).sum(-1)
    return straight_returns(distance, horizon, GOAL_REWARD, STEP_REWARD)


def standing_returns(source: EnvSource, tasks: Array | None) -> Array | None:
    """Return per episode of standing still on tasks of a MuJoCo family, ``None`` for others.

    Without actions there are no control costs, and a standing Ant gets the survival reward of 1
    per step.

    Args:
        source: Source of the environments.
        tasks: float32 (n_tasks, task_dim).
    """
    env, horizon = source.make(), source.facts().horizon
    env.close()
    if tasks is None or horizon is None:
        return None
    if isinstance(env.unwrapped, AntGoalEnv):
        return -horizon * np.abs(np.stack(goal_xy(tasks))).sum(0)
    if isinstance(env.unwrapped, AntDirEnv):
        return np.full(len(tasks), SURVIVE_REWARD * horizon)
    if isinstance(env.unwrapped, HalfCheetahVelEnv):
        return -horizon * np.abs(tasks[:, 0])
    return None

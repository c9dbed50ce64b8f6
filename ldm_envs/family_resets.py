"""Resets of a user's family while `check_family` tests it, and the task that they report."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from ldm_envs.task_sets import FloatArray

AnyEnv = gym.Env[Any, Any]


class FamilyError(ValueError):
    """A family that breaks the task protocol; the message says what to change."""


def reset_task(
    env: AnyEnv, seed: int | None, options: dict[str, Any] | None
) -> tuple[Any, FloatArray]:
    """Return the first observation and the task (task_dim,) that ``info`` reports."""
    given = None if options is None else dict(options)
    try:
        observation, info = env.reset(seed=seed, options=given)
    except (TypeError, KeyError, AttributeError) as error:
        raise FamilyError(
            f"reset(seed={seed}, options={options}) failed: {type(error).__name__}: {error}. The "
            "reset of a family takes options={'task': array} and options={'keep_task': True}"
        ) from error
    if given is not None and options is not None and given.keys() != options.keys():
        raise FamilyError(
            f"reset(options={options}) has changed the dict to {given}, which Gymnasium's "
            "SyncVectorEnv passes to all environments, so that only the first one would obey: "
            "begin with `options = dict(options or {})`"
        )
    return observation, told_task(info, f"reset(options={options})")


def told_task(info: dict[str, Any], where: str) -> FloatArray:
    """Return the task (task_dim,) in ``info``; the error calls its origin ``where``."""
    task = info.get("task")
    if not isinstance(task, np.ndarray) or task.dtype != np.float32:
        raise FamilyError(
            f"info['task'] of {where} must be a float32 array (task_dim,), got {task!r}. Write "
            '`return observation, {"task": self._task.copy()}`, at reset and at step'
        )
    return task

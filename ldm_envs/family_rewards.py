"""Rewards of pinned and kept tasks of a user's family, compared by `check_family`."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from ldm_envs.family_resets import AnyEnv, FamilyError, reset_task, told_task
from ldm_envs.task_sets import FloatArray
from ldm_envs.task_table import content_key


class Earned(NamedTuple):
    """Rewards of a fixed sequence of actions in a pinned task."""

    task: FloatArray  # (task_dim,)
    rewards: list[float]  # one per step, to the end of the episode or `n_steps`


def _rewards(
    env: AnyEnv,
    options: dict[str, Any],
    task: FloatArray,
    n_steps: int,
    seed: int,
    *,
    seeded: bool = True,
) -> list[float]:
    """Rewards of a fixed sequence of actions; if not `seeded`, reset continues the generator."""
    env.reset(seed=seed if seeded else None, options=options)
    env.action_space.seed(seed)  # after the reset, which may have replaced the space
    rewards: list[float] = []
    for _ in range(n_steps):
        reward: Any
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        if not np.array_equal(told_task(info, "step()"), task):
            raise FamilyError(
                f"The task changed from {task.tolist()} to {info['task'].tolist()} inside an "
                "episode: a hidden task must stay the same until the next reset"
            )
        if np.ndim(reward):
            raise FamilyError(
                f"step() returned the reward {reward!r}, expected a number: weigh the parts of a "
                "reward that has several (mo_gymnasium.wrappers.LinearReward), or write "
                "gymnasium.wrappers.TransformReward(env, lambda reward: float(reward.sum()))"
            )
        rewards.append(float(reward))
        if terminated or truncated:
            break
    return rewards


def _equal(rewards: list[float], others: list[float]) -> bool:
    """Whether rewards are equal up to the rounding of a simulator that sums in varying order."""
    return len(rewards) == len(others) and np.allclose(rewards, others, rtol=1e-9, atol=1e-12)


def check_rewards(
    env: AnyEnv, tasks: dict[str, FloatArray], n_steps: int, seed: int
) -> dict[str, list[Earned]]:
    """Test that each pinned task earns the same rewards twice, and return them for each split."""
    earned: dict[str, list[Earned]] = {}
    for split, rows in tasks.items():
        earned[split] = [
            Earned(task, _rewards(env, {"task": task}, task, n_steps, seed)) for task in rows
        ]
    every = [one for split in earned for one in earned[split]]
    for task, rewards in every:
        if not _equal(_rewards(env, {"task": task}, task, n_steps, seed), rewards):
            raise FamilyError(
                f"The same seed, actions and task {task.tolist()} give different rewards the "
                "second time: use no generator but `self.np_random`, and let 'task' set the whole "
                "task"
            )
    several = len({one.task.tobytes() for one in every}) > 1
    if several and all(one.rewards == every[0].rewards for one in every):
        warnings.warn(
            f"{env}: random actions earn the same rewards in all {len(every)} tasks. Either "
            "rewards are sparse, or the task passed to reset has no effect",
            stacklevel=3,
        )
    return earned


def check_other_split(
    env: AnyEnv, split: str, earned: list[Earned], n_steps: int, seed: int
) -> None:
    """Test that tasks earn the same rewards in an environment of another split as with `train`."""
    for task, rewards in earned:
        if not _equal(_rewards(env, {"task": task}, task, n_steps, seed), rewards):
            raise FamilyError(
                f"With the same seed and actions the task {task.tolist()} earns other rewards with "
                f"split={split!r} than with split='train'. Evaluations pin the tasks of all splits "
                "in environments made with split='train': let split choose only which tasks resets "
                "draw, and let the task set everything else"
            )


def check_keeping(env: AnyEnv, tasks: FloatArray, n_steps: int, seed: int) -> None:
    """Test that a kept task earns the same rewards as when pinned, with a seed and without."""
    for task in tasks:
        pinned = _rewards(env, {"task": task}, task, n_steps, seed)
        if not _equal(_rewards(env, {"keep_task": True}, task, n_steps, seed), pinned):
            raise FamilyError(
                f"After options={{'keep_task': True}} the same seed and actions earn different "
                f"rewards than with the pinned task {task.tolist()}: info['task'] says that the "
                "task is kept, but something that the reward depends on is drawn again"
            )
        again: list[list[float]] = []
        for options in ({"task": task}, {"keep_task": True}):
            reset_task(env, seed, {"task": task})
            again.append(_rewards(env, options, task, n_steps, seed, seeded=False))
        if not _equal(again[0], again[1]):
            raise FamilyError(
                "After options={'keep_task': True} without a seed, as inside a meta-episode, the "
                f"same actions earn different rewards than after pinning the task {task.tolist()} "
                "again without a seed: something that the reward depends on is drawn again, or "
                "one of the two options draws more from the generator than the other"
            )
    if len({content_key(reset_task(env, seed, {"task": task})[0]) for task in tasks}) > 1:
        warnings.warn(
            f"{env}: with the same seed, the first observation differs between tasks, so the task "
            "is not hidden from the agent (or the start state depends on it). Imaginary rewards "
            "belong to other tasks than the observation shows; hide it, for instance with "
            "gymnasium.wrappers.FilterObservation",
            stacklevel=3,
        )

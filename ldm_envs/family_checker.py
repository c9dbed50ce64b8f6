"""`check_family` tests a user's family, as `gymnasium.utils.env_checker` tests an environment."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from ldm_envs.family_resets import AnyEnv, FamilyError, reset_task
from ldm_envs.family_rewards import check_keeping, check_other_split, check_rewards
from ldm_envs.split_overlap import warn_of_shared_tasks
from ldm_envs.task_sets import FloatArray
from ldm_envs.tasks import TaskDistribution, same_tasks

Make = Callable[..., AnyEnv]
_N_DRAWS = 8  # resets that must not all draw one task
_TASKS_TRIED = 4  # per split
_ADAPTERS = (
    "ldm_envs.TaskMethodWrapper, TaskAttributeWrapper or TaskSeedWrapper make a family out of an "
    "environment whose tasks are set by a method, an attribute or a seed"
)


def check_family(make: str | Make, *, n_steps: int = 100, seed: int = 0) -> None:
    """Test that an environment is a family of hidden tasks as `ldm_wrappers` and `train` use it.

    The environment is made with each split and must draw tasks of that split. It must let a task
    be pinned and kept, refuse an invalid one, and report `info["task"]` at reset and step. In a
    given task, equal seeds and actions must earn equal rewards, whatever the split. Unusual but
    legal behaviour causes a warning: train tasks in another split, rewards that never differ
    between tasks, tasks that the first observation reveals, success under a different info key, no
    step limit.

    Args:
        make: An id for `gymnasium.make`, or a function that takes `split` as a keyword
            argument and returns the environment.
        n_steps: Maximum number of steps of each compared episode.
        seed: Seed of resets and actions.

    Raises:
        FamilyError: The first breach of the protocol.
    """
    create = _creator(make)
    env = create("train")
    try:
        distribution = _distribution(env)
        warn_of_shared_tasks(distribution)
        _check_draws(env, distribution["train"], seed)
        rng = np.random.default_rng(seed)
        tasks = {name: distribution[name].sample(rng, _TASKS_TRIED) for name in distribution}
        every = np.concatenate(list(tasks.values()))
        _check_pinning(env, distribution, every, seed)
        earned = check_rewards(env, tasks, n_steps, seed)
        check_keeping(env, every, n_steps, seed)
        _advise(env)
    finally:
        env.close()
    for split in distribution.splits:
        other = create(split)
        try:
            if not same_tasks(_distribution(other)[split], distribution[split]):
                raise FamilyError(
                    f"make() has different tasks of split {split!r} at each call. Every "
                    "environment of a run needs the same ones: list them, or draw them from a "
                    "generator with a fixed seed (np.random.default_rng(0) inside make)"
                )
            _check_draws(other, distribution[split], seed, split)
            check_other_split(other, split, earned[split], n_steps, seed)
        finally:
            other.close()


def _creator(make: str | Make) -> Callable[[str], AnyEnv]:
    if not (isinstance(make, str) or callable(make)):
        raise FamilyError(f"Expected an id or a function that makes an environment, got {make!r}")

    def create(split: str) -> AnyEnv:
        try:
            env = gym.make(make, split=split) if isinstance(make, str) else make(split=split)
        except (gym.error.UnregisteredEnv, ModuleNotFoundError) as error:
            if not isinstance(make, str):  # a function's own error
                raise
            raise FamilyError(
                f"Cannot make {make!r}: {error}. Expected a registered id, or a function itself "
                "(not its name), as in check_family(make)"
            ) from error
        except TypeError as error:
            raise FamilyError(
                f"make(split={split!r}) failed: {error}. The constructor of a family takes "
                f"`split`, the set that tasks are drawn from; {_ADAPTERS}"
            ) from error
        if not isinstance(env, gym.Env):
            raise FamilyError(f"make(split={split!r}) must return a gymnasium.Env, got {env!r}")
        return env

    return create


def _distribution(env: AnyEnv) -> TaskDistribution:
    try:
        distribution = env.get_wrapper_attr("task_distribution")
    except AttributeError:
        raise FamilyError(
            f"{env} has no attribute `task_distribution`. Write `task_distribution = "
            'TaskDistribution({"train": ..., "test": ..., "all": ...}, ("x (m)",))` in the '
            f"environment class; {_ADAPTERS}"
        ) from None
    if not isinstance(distribution, TaskDistribution):
        raise FamilyError(f"task_distribution must be a TaskDistribution, got {distribution!r}")
    if "train" not in distribution:
        raise FamilyError(f'Expected a split named "train", got {distribution.splits}')
    return distribution


def _check_draws(env: AnyEnv, task_set: Any, seed: int, split: str = "train") -> None:
    told = [reset_task(env, seed + i, None)[1] for i in range(_N_DRAWS)]
    for task in told:
        if not task_set.contains(task):
            raise FamilyError(
                f"With split={split!r} reset() drew the task {task.tolist()}, which is not in "
                "that split. Draw with `self.task_distribution[split].sample(self.np_random, 1)[0]`"
            )
    again = reset_task(env, seed, None)[1]
    if not np.array_equal(again, told[0]):
        raise FamilyError(
            f"reset(seed={seed}) drew {told[0].tolist()} and then {again.tolist()}: seed first "
            "(`super().reset(seed=seed)`), then draw from `self.np_random`"
        )
    tasks = task_set.tasks
    single = tasks is not None and len(tasks) == 1
    if not single and len({task.tobytes() for task in told}) == 1:
        raise FamilyError(
            f"{_N_DRAWS} resets with different seeds drew the same task {again.tolist()} of split "
            f"{split!r}: draw a task at each reset that neither pins nor keeps one"
        )


def _check_pinning(
    env: AnyEnv, distribution: TaskDistribution, tasks: FloatArray, seed: int
) -> None:
    for task in tasks:
        told = reset_task(env, seed, {"task": task.copy()})[1]
        if not np.array_equal(told, task):
            raise FamilyError(
                f"reset(options={{'task': {task.tolist()}}}) plays the task {told.tolist()}: "
                "options['task'] must be used as given"
            )
        told[...] = np.nan  # the caller's copy, if the environment returns copies
        if not np.array_equal(reset_task(env, None, {"keep_task": True})[1], task):
            raise FamilyError(
                f"After reset(options={{'task': {task.tolist()}}}) another reset with "
                "options={'keep_task': True} plays another task: keep it, and return copies "
                "in info['task']"
            )
    for task in tasks:
        if not distribution["train"].contains(task):  # so that no draw is this task by chance
            _check_unpinned(env, task, seed)
            break
    outside = np.full(distribution.task_dim, np.nan, np.float32)
    try:
        env.reset(options={"task": outside})
    except ValueError:
        return
    raise FamilyError(
        "reset(options={'task': [nan, ...]}) was accepted: check tasks with "
        "`self.task_distribution.validate(options['task'])`"
    )


def _check_unpinned(env: AnyEnv, task: FloatArray, seed: int) -> None:
    reset_task(env, seed, {"task": task.copy()})
    told = [reset_task(env, seed + i, None)[1] for i in range(_N_DRAWS)]
    if all(np.array_equal(one, task) for one in told):
        raise FamilyError(
            f"After reset(options={{'task': {task.tolist()}}}) {_N_DRAWS} resets without options "
            "play that task as well: draw a task at each reset that neither pins nor keeps one"
        )


def _advise(env: AnyEnv) -> None:
    env.reset()
    info = env.step(env.action_space.sample())[-1]
    if "success" in info and "is_success" not in info:
        warnings.warn(
            f"{env} reports info['success'], but evaluation reads info['is_success']",
            stacklevel=3,
        )
    layer: Any = env
    while isinstance(layer, gym.Wrapper) and not isinstance(layer, gym.wrappers.TimeLimit):
        layer = layer.env
    if not isinstance(layer, gym.wrappers.TimeLimit) and not (
        env.spec is not None and env.spec.max_episode_steps
    ):
        warnings.warn(
            f"{env} has no step limit: put gymnasium.wrappers.TimeLimit around it, or register it "
            "with max_episode_steps",
            stacklevel=3,
        )

"""`check_family` tests a user's family, as `gymnasium.utils.env_checker` tests an environment."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from ldm_envs.split_overlap import warn_of_shared_tasks
from ldm_envs.task_sets import FloatArray
from ldm_envs.task_table import content_key
from ldm_envs.tasks import TaskDistribution, same_tasks

AnyEnv = gym.Env[Any, Any]
Make = Callable[..., AnyEnv]
_N_DRAWS = 8  # resets that must not all draw one task
_TASKS_TRIED = 4  # per split
_ADAPTERS = (
    "ldm_envs.TaskMethodWrapper, TaskAttributeWrapper or TaskSeedWrapper make a family out of an "
    "environment whose tasks are set by a method, an attribute or a seed"
)


class FamilyError(ValueError):
    """A family that breaks the task protocol; the message says what to change."""


def check_family(make: str | Make, *, n_steps: int = 100, seed: int = 0) -> None:
    """Test that an environment is a family of hidden tasks as `ldm_wrappers` and `train` use it.

    The environment is made with each split and must draw tasks of that split. It must let a task
    be pinned and kept, refuse an invalid one, and report `info["task"]` at reset and step. Equal
    seeds and actions must earn equal rewards in a task, with any split. Unusual but legal
    behaviour is a warning: train tasks in another split, rewards that never differ between tasks,
    tasks that the first observation shows, success under another info key, no step limit.

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
        tasks = _check_pinning(env, distribution, seed)
        earned = _check_rewards(env, tasks, n_steps, seed)
        _check_keeping(env, tasks, n_steps, seed)
        _advise(env)
    finally:
        env.close()
    for index, split in enumerate(distribution.splits):
        other = create(split)
        try:
            if not same_tasks(_distribution(other)[split], distribution[split]):
                raise FamilyError(
                    f"make() has different tasks of split {split!r} at each call. Every "
                    "environment of a run needs the same ones: list them, or draw them from a "
                    "generator with a fixed seed (np.random.default_rng(0) inside make)"
                )
            _check_draws(other, distribution[split], seed, split)
            own = slice(index * _TASKS_TRIED, (index + 1) * _TASKS_TRIED)
            for task, rewards in zip(tasks[own], earned[own], strict=True):
                _check_split(other, split, task, rewards, n_steps, seed)
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


def _reset(env: AnyEnv, seed: int | None, options: dict[str, Any] | None) -> tuple[Any, FloatArray]:
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
    return observation, _told(info, f"reset(options={options})")


def _told(info: dict[str, Any], where: str) -> FloatArray:
    task = info.get("task")
    if not isinstance(task, np.ndarray) or task.dtype != np.float32:
        raise FamilyError(
            f"info['task'] of {where} must be a float32 array (task_dim,), got {task!r}. Write "
            '`return observation, {"task": self._task.copy()}`, at reset and at step'
        )
    return task


def _check_draws(env: AnyEnv, task_set: Any, seed: int, split: str = "train") -> None:
    told = [_reset(env, seed + i, None)[1] for i in range(_N_DRAWS)]
    for task in told:
        if not task_set.contains(task):
            raise FamilyError(
                f"With split={split!r} reset() drew the task {task.tolist()}, which is not in "
                "that split. Draw with `self.task_distribution[split].sample(self.np_random, 1)[0]`"
            )
    again = _reset(env, seed, None)[1]
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


def _check_pinning(env: AnyEnv, distribution: TaskDistribution, seed: int) -> list[FloatArray]:
    rng, tried = np.random.default_rng(seed), []
    for split in distribution.splits:
        for task in distribution[split].sample(rng, _TASKS_TRIED):
            told = _reset(env, seed, {"task": task.copy()})[1]
            if not np.array_equal(told, task):
                raise FamilyError(
                    f"reset(options={{'task': {task.tolist()}}}) plays the task {told.tolist()}: "
                    "options['task'] must be used as given"
                )
            told[...] = np.nan  # the caller's copy, if the environment returns copies
            if not np.array_equal(_reset(env, None, {"keep_task": True})[1], task):
                raise FamilyError(
                    f"After reset(options={{'task': {task.tolist()}}}) another reset with "
                    "options={'keep_task': True} plays another task: keep it, and return copies "
                    "in info['task']"
                )
            tried.append(task)
    for task in tried:
        if not distribution["train"].contains(task):  # so that no draw is this task by chance
            _check_unpinned(env, task, seed)
            break
    outside = np.full(distribution.task_dim, np.nan, np.float32)
    try:
        env.reset(options={"task": outside})
    except ValueError:
        return tried
    raise FamilyError(
        "reset(options={'task': [nan, ...]}) was accepted: check tasks with "
        "`self.task_distribution.validate(options['task'])`"
    )


def _check_unpinned(env: AnyEnv, task: FloatArray, seed: int) -> None:
    _reset(env, seed, {"task": task.copy()})
    told = [_reset(env, seed + i, None)[1] for i in range(_N_DRAWS)]
    if all(np.array_equal(one, task) for one in told):
        raise FamilyError(
            f"After reset(options={{'task': {task.tolist()}}}) {_N_DRAWS} resets without options "
            "play that task as well: draw a task at each reset that neither pins nor keeps one"
        )


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
        if not np.array_equal(_told(info, "step()"), task):
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
    """Whether rewards are the same, but for roundings of a simulator that adds in any order."""
    return len(rewards) == len(others) and np.allclose(rewards, others, rtol=1e-9, atol=1e-12)


def _check_rewards(
    env: AnyEnv, tasks: list[FloatArray], n_steps: int, seed: int
) -> list[list[float]]:
    first = [_rewards(env, {"task": task}, task, n_steps, seed) for task in tasks]
    for task, rewards in zip(tasks, first, strict=True):
        if not _equal(_rewards(env, {"task": task}, task, n_steps, seed), rewards):
            raise FamilyError(
                f"The same seed, actions and task {task.tolist()} give different rewards the "
                "second time: use no generator but `self.np_random`, and let 'task' set the whole "
                "task"
            )
    if len({task.tobytes() for task in tasks}) > 1 and all(one == first[0] for one in first):
        warnings.warn(
            f"{env}: random actions earn the same rewards in all {len(tasks)} tasks. Either "
            "rewards are sparse, or the task passed to reset has no effect",
            stacklevel=3,
        )
    return first


def _check_split(
    env: AnyEnv, split: str, task: FloatArray, earned: list[float], n_steps: int, seed: int
) -> None:
    """Compare a pinned task in an environment of its own split and in one of the train split."""
    if not _equal(_rewards(env, {"task": task}, task, n_steps, seed), earned):
        raise FamilyError(
            f"With the same seed and actions the task {task.tolist()} earns other rewards with "
            f"split={split!r} than with split='train'. Evaluations pin the tasks of all splits in "
            "environments made with split='train': let split choose only which tasks resets draw, "
            "and let the task set everything else"
        )


def _check_keeping(env: AnyEnv, tasks: list[FloatArray], n_steps: int, seed: int) -> None:
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
            _reset(env, seed, {"task": task})
            again.append(_rewards(env, options, task, n_steps, seed, seeded=False))
        if not _equal(again[0], again[1]):
            raise FamilyError(
                "After options={'keep_task': True} without a seed, as inside a meta-episode, the "
                f"same actions earn different rewards than after pinning the task {task.tolist()} "
                "again without a seed: something that the reward depends on is drawn again, or "
                "one of the two options draws more from the generator than the other"
            )
    if len({content_key(_reset(env, seed, {"task": task})[0]) for task in tasks}) > 1:
        warnings.warn(
            f"{env}: with the same seed, the first observation differs between tasks, so the task "
            "is not hidden from the agent (or the start state depends on it). Imaginary rewards "
            "belong to other tasks than the observation shows; hide it, for instance with "
            "gymnasium.wrappers.FilterObservation",
            stacklevel=3,
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

"""Notices of a run about settings, splits and environments that may not have the usual effect."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ldm_envs.tasks import TaskDistribution
from ldm_wrappers.task_protocol import told_tasks
from ldm_wrappers.vector import TaskRowsWrapper
from train.common.env_source import EnvSource
from train.common.envs import MOST_TASKS, base_env, evaluation_batches
from train.common.guard import FiniteCheckWrapper
from train.common.learner import AnyVectorEnv
from train.config.methods import get_method
from train.config.off_policy import MqlSettings
from train.config.on_policy import OnPolicySettings
from train.config.settings import RunSettings

_N_RESETS = 20  # to find out whether a split has an effect
_N_STEPS = 20  # to find out whether it has one on a pinned task


def settings_without_use(config: RunSettings) -> frozenset[str]:
    """Settings that have no effect with the environments of a run.

    Raises:
        ValueError: If an environment cannot be made.
    """
    unused = _without_use(config)
    if config.eval_env_id:
        other = dataclasses.replace(config, env_id=config.eval_env_id, eval_env_id="")
        # evaluations never run in processes, and do not train
        of_training = {"vectorization", "n_train_tasks", "truncate_backpropagation"}
        unused &= _without_use(other) | of_training
    return frozenset(unused)


def _without_use(config: RunSettings) -> set[str]:
    source = EnvSource.of(config)
    sets, known = source.facts().distribution, source.batch_arguments()
    unused = {"num_threads"} if known is None or "num_threads" not in known else set()
    if known is not None:
        unused.add("vectorization")
    if sets is not None:
        listed = [sets[name].tasks for name in sets.splits if name != "all"]
        if all(tasks is not None and len(tasks) <= MOST_TASKS for tasks in listed):
            unused.add("eval_tasks")
    unflattened = dataclasses.replace(source, flatten_observation=False)
    space = unflattened.facts().observation_space
    own_batch = unflattened.batch_arguments() is not None  # which flattening cannot use
    if not own_batch and isinstance(space, spaces.Box) and len(space.shape) == 1:
        unused.add("flatten_observation")
    split = get_method(config.method).split
    if sets is not None and split in sets and sets[split].tasks is not None:
        unused.add("n_train_tasks")
    if isinstance(config, OnPolicySettings) and not config.stagger_workers:
        horizon = source.facts().horizon
        if horizon is not None and config.n_steps % (config.n_episodes * horizon) == 0:
            unused.add("truncate_backpropagation")  # n_steps splits no meta-episodes
    return unused


def adaptation_notice(config: RunSettings) -> str:
    """A sentence if MQL's gradient steps at test time update only the critics, else empty."""
    if not isinstance(config, MqlSettings):
        return ""
    most = max(config.snapshot_updates, config.replay_updates)
    if not 0 < most < config.policy_freq:
        return ""
    return (
        f"policy_freq = {config.policy_freq} is greater than snapshot_updates = "
        f"{config.snapshot_updates} and replay_updates = {config.replay_updates}, which are "
        "counted separately: no gradient step at test time updates the actor, so adaptation "
        f"changes no action; expected at least one of the two to be {config.policy_freq} or more"
    )


def split_notice(config: RunSettings) -> str:
    """A sentence if a method's environments draw other tasks than those of its split.

    Environments from third parties may ignore ``split``, or not pass it on. Resets reveal it: with
    the train split, by a single task outside it; with all tasks, by drawing only train tasks,
    unless others are too rare to be drawn. Methods that pin their tasks need no notice.
    """
    method, distribution = get_method(config.method), _third_party_tasks(config)
    if method.observation is None or distribution is None or "train" not in distribution:
        return ""
    split = method.split
    if split != "train":
        drawn = distribution[split].sample(np.random.default_rng(0), 1000)
        outside = 1.0 - float(np.mean(distribution["train"].contains(drawn)))
        if (1.0 - outside) ** _N_RESETS > 0.01:
            return ""
    told = _drawn_tasks(config, split, distribution.task_dim)
    if told is None:
        return ""
    strange = told[~distribution[split].contains(told)]
    if len(strange):
        return (
            f"{len(strange)} of {_N_RESETS} resets of {config.env_id} with split={split!r} drew "
            f"tasks that are not in it, such as {strange[0].tolist()}, so method {config.method} "
            "does not train on that split alone; ldm_envs.check_family tests whether split has an "
            "effect"
        )
    if split == "train" or not distribution["train"].contains(told).all():
        return ""
    return (
        f"{_N_RESETS} resets of {config.env_id} with split={split!r} drew only train tasks, so "
        f"method {config.method} may never see any others; ldm_envs.check_family tests whether "
        "split has an effect"
    )


def visible_task_notice(config: RunSettings) -> str:
    """A sentence if the first observation shows the task to a method that has to infer it.

    It compares resets with the same seed. This has no result if the same task looks different each
    time, and it cannot distinguish the task from an initial state that depends on the task.
    """
    method, sets = get_method(config.method), _third_party_tasks(config)
    if method.shows_task or sets is None:
        return ""
    drawn = sets[method.split].sample(np.random.default_rng(0), _N_RESETS)
    one, other = drawn[0], drawn[(drawn != drawn[0]).any(axis=1)][:1]
    if not len(other):
        return ""
    env = TaskRowsWrapper(FiniteCheckWrapper(base_env(config, 1, method.split, "sync")))
    try:
        first, again, elsewhere = (
            np.array(env.reset(seed=[0], options={"task": task[None]})[0])
            for task in (one, one, other[0])
        )
    finally:
        env.close()
    if not np.array_equal(first, again) or np.array_equal(first, elsewhere):
        return ""
    return (
        f"with the same seed, the first observation of {config.env_id} differs between the tasks "
        f"{one.tolist()} and {other[0].tolist()}: it shows the task, or an initial state that "
        f"depends on it. Method {config.method} is meant for hidden tasks, and an imaginary task "
        "would not be the visible one; hide the task with --observation-keys, or with "
        "gymnasium.wrappers.FilterObservation in a function for --env-fn"
    )


def pinned_task_notice(config: RunSettings) -> str:
    """A sentence if a pinned task is another one in environments of its own split.

    Evaluations pin the tasks of all splits in environments of split "train". A third party's
    function may choose more by its split than the tasks that resets draw, such as a difficulty. A
    few random steps reveal it, unless rewards are sparse or equal seeds give different steps.
    """
    for one, _ in evaluation_batches(config):
        sets = _third_party_tasks(one)
        if sets is None or not EnvSource.of(one).facts().takes_split:
            continue
        for split in (name for name in sets.splits if name not in ("train", "all")):
            task = sets[split].sample(np.random.default_rng(0), 1)
            first, again, own = (_steps(one, name, task) for name in ("train", "train", split))
            if first == again != own:
                return (
                    f"with the same seed and actions, the task {task[0].tolist()} of {one.env_id} "
                    f"differs between split='train' and split={split!r}. Evaluations use "
                    "split='train' for the tasks of all splits: let split choose only which tasks "
                    "resets draw, and let the task set everything else"
                )
    return ""


def _steps(config: RunSettings, split: str, task: NDArray[Any]) -> list[tuple[bytes, float]]:
    """Observations and rewards of random steps in a seeded episode of a pinned task."""
    env: AnyVectorEnv = FiniteCheckWrapper(base_env(config, 1, split, "sync"))
    env = TaskRowsWrapper(env)
    try:
        env.reset(seed=[0], options={"task": task})
        env.action_space.seed(0)
        steps = []
        for _ in range(_N_STEPS):
            observations, rewards, terminated, truncated, _ = env.step(env.action_space.sample())
            steps.append((np.asarray(observations).tobytes(), float(rewards[0])))
            if terminated[0] or truncated[0]:
                break
    finally:
        env.close()
    return steps


def _third_party_tasks(config: RunSettings) -> TaskDistribution | None:
    """The task sets of a third party's family, if they include the split of the method."""
    source = EnvSource.of(config)
    sets = None if source.of_ldm_envs else source.facts().distribution
    return sets if sets is not None and get_method(config.method).split in sets else None


def _drawn_tasks(config: RunSettings, split: str, task_dim: int) -> NDArray[Any] | None:
    """Tasks (_N_RESETS, task_dim) of seeded resets; ``None`` if infos do not contain them."""
    env = FiniteCheckWrapper(base_env(config, 1, split, "sync"))
    try:
        rows = []
        for seed in range(_N_RESETS):
            told = told_tasks(env.reset(seed=seed)[1], np.zeros(1, np.int64))
            if told is None or told.shape != (1, task_dim):
                return None
            rows.append(told)
    finally:
        env.close()
    return np.concatenate(rows)


def warn_of_unsaved_environments(config: RunSettings, timesteps: int) -> None:
    """Warn, on resume, that seeded resets may not restore all of an environment's state.

    For methods whose iterations begin with seeded resets. The environments of ``ldm_envs`` keep no
    state across resets; others may. No warning if the run is complete after ``timesteps``.
    """
    if EnvSource.of(config).of_ldm_envs or timesteps >= config.total_timesteps:
        return
    print(
        f"warning: checkpoints of method {config.method} contain no state of {config.env_id}, "
        "since every iteration begins with a seeded reset: anything that the environment keeps "
        "across resets (a counter, a curriculum) starts over, in which case the run will differ "
        "from an uninterrupted one",
        file=sys.stderr,
    )

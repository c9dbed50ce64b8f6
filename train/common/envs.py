"""The environments of a run, for all methods."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import signal
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.vector.async_vector_env import AsyncState

from ldm_wrappers.arguments import scalar_reward
from ldm_wrappers.latent_dynamics.space_checks import way_out
from ldm_wrappers.vector import MultiEpisodeWrapper
from train.common.env_source import AnyEnv, EnvSource
from train.common.learner import AnyVectorEnv, Learner
from train.config.methods import get_method
from train.config.presets import PRESETS
from train.config.settings import RunSettings

MOST_TASKS = 1000
"""Largest finite set of tasks that is evaluated in full, each task in its own environment."""


def base_env(
    config: RunSettings, num_envs: int, split: str, vectorization: str | None = None
) -> AnyVectorEnv:
    """Make ``num_envs`` environments without autoreset, for any id or function.

    Args:
        config: Settings of the run.
        num_envs: Number of environments.
        split: Split to draw tasks from.
        vectorization: "sync" or "async"; ``None`` for the run's setting.

    Raises:
        ValueError: If the environment cannot be made, or does not have the split that the method
            needs.
    """
    source = EnvSource.of(config)
    _check_observations(source)
    if split != "train" and not source.facts().takes_split:
        required_distribution(config, f"trains on split {split!r}")
        raise ValueError(
            f"method {config.method} trains on split {split!r}, but {config.env_id} takes no "
            'argument split: expected a function with an argument split="train" that it passes on, '
            "as in TaskMethodWrapper(env, tasks, split=split)"
        )
    batch = _own_batch(source, num_envs, split, config.num_threads)
    if batch is not None:
        return batch
    make: Callable[[], AnyEnv] = functools.partial(_with_numbers_as_rewards, source, split)
    kind: Any = SyncVectorEnv
    if (vectorization or config.vectorization) == "async":
        kind, make = ProcessVectorEnv, _OutOfReach(make)
    env = kind([make] * num_envs, autoreset_mode=AutoresetMode.DISABLED)
    env.spec = copy.deepcopy(source.spec())
    if env.spec is not None and source.max_episode_steps is not None:
        env.spec.max_episode_steps = source.max_episode_steps
    return env


def _check_observations(source: EnvSource) -> None:
    """Raise a ``ValueError`` with the flags that turn the observation space into a ``Box``."""
    space = source.facts().observation_space
    if isinstance(space, spaces.Box) or not space.is_np_flattenable:
        return
    flags = "--flatten-observation"
    if isinstance(space, spaces.Dict):
        flags += f", with --observation-keys for some of {sorted(space.spaces)},"
    raise ValueError(
        f"the observation space of {source.env_id} must be a Box, got {space}; {flags} turns it "
        f"into one. In Python, {way_out(space)}"
    )


def _with_numbers_as_rewards(source: EnvSource, split: str) -> AnyEnv:
    """An environment whose rewards are checked before Gymnasium's batch stores them."""
    return gym.wrappers.TransformReward(source.make(split), scalar_reward)


class ProcessVectorEnv(AsyncVectorEnv):
    """Gymnasium's AsyncVectorEnv, closed without waiting for pending replies of its processes.

    A process with a pending reply has died, or a second Ctrl-C interrupted reading the reply.
    Waiting for it would raise an error that hides the first one, or never end.
    """

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """Close the environments and end the processes."""
        owing = self._state is not AsyncState.DEFAULT
        self._state = AsyncState.DEFAULT
        try:
            super().close_extras(timeout, terminate or owing)
        except (EOFError, OSError):  # a process died between two steps
            super().close_extras(timeout, terminate=True)


class _OutOfReach:
    """Makes an environment in a process that is not reached by signals to the process group.

    Ctrl-C in a terminal and ``timeout`` also signal the workers, which would die before the
    training has finished its iteration and written its checkpoint. They end when their pipe is
    closed.

    Args:
        make: Makes the environment.
    """

    def __init__(self, make: Callable[[], AnyEnv]) -> None:
        self._make = make
        self._parent = os.getpid()

    def __call__(self) -> AnyEnv:
        if os.getpid() != self._parent:  # the parent also makes one, for its spaces
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if hasattr(os, "setpgrp"):
                os.setpgrp()
        return self._make()


def _own_batch(
    source: EnvSource, num_envs: int, split: str, num_threads: int | None
) -> AnyVectorEnv | None:
    """The environment's own batched version; ``None`` if there is none without autoreset."""
    spec, known = source.spec(), source.batch_arguments()
    if spec is None or known is None:
        return None
    arguments = dict(source.arguments)
    if source.facts().takes_split:
        source.refuse_own_split()
        arguments["split"] = split
    if num_threads is not None and "num_threads" in known:
        arguments["num_threads"] = num_threads
    if source.max_episode_steps is not None:
        arguments["max_episode_steps"] = source.max_episode_steps
    return gym.make_vec(spec, num_envs, autoreset_mode=AutoresetMode.DISABLED, **arguments)


def runs_in_processes(config: RunSettings) -> bool:
    """Whether each training environment runs in its own process, which batched ones never do."""
    return config.vectorization == "async" and EnvSource.of(config).batch_arguments() is None


def required_distribution(config: RunSettings, why: str) -> Any:
    """The ``task_distribution`` of a run's environments.

    Args:
        config: Settings of the run.
        why: What the method needs it for, for the message.

    Raises:
        ValueError: If they have none.
    """
    distribution = EnvSource.of(config).facts().distribution
    if distribution is None:
        raise ValueError(
            f"method {config.method} {why}, but {config.env_id} has no task_distribution; wrap it "
            "with an adapter of ldm_envs (TaskMethodWrapper or similar) in a function that takes "
            "split: --env-fn module:function (docs/own_environments.md)"
        )
    return distribution


def episode_length(config: RunSettings) -> int:
    """H, the maximum number of steps of an episode.

    Raises:
        ValueError: If the environment has no step limit.
    """
    horizon = EnvSource.of(config).facts().horizon
    if horizon is None:
        raise ValueError(
            f"{config.env_id} declares no max_episode_steps, so its episodes may never end: set "
            "--max-episode-steps"
        )
    return horizon


def meta_episode_length(config: RunSettings) -> int:
    """H⁺ = N · H, the maximum number of steps of a meta-episode; see :func:`episode_length`."""
    return config.n_episodes * episode_length(config)


def whole_meta_episodes(config: RunSettings) -> RunSettings:
    """Set ``n_steps`` to one meta-episode if the environment has no presets."""
    if config.env_id in PRESETS or get_method(config.method).observation is None:
        return config  # learners other than PPO have their own rollouts
    whole: dict[str, Any] = {"n_steps": meta_episode_length(config)}
    return dataclasses.replace(config, **whole)


def evaluation_env(learner: Learner, env: AnyVectorEnv) -> AnyVectorEnv:
    """Meta-episodes with true rewards, and with the observations that the policy is trained on.

    Args:
        learner: The learner whose policy acts.
        env: Environments without autoreset.
    """
    return learner.evaluation_env(MultiEpisodeWrapper(env, learner.config.n_episodes))


def evaluation_tasks(config: RunSettings) -> dict[str, np.ndarray[Any, Any] | None]:
    """Tasks per split: all of a finite set, or a fixed sample of a continuous or large one.

    The split ``"all"``, and splits that repeat an earlier one, are left out. An environment without
    a task distribution is evaluated on ``eval_tasks`` seeded resets, as split ``"train"``.
    """
    distribution = EnvSource.of(config).facts().distribution
    if distribution is None:
        return {"train": None}
    tasks: dict[str, np.ndarray[Any, Any] | None] = {}
    for split in distribution.splits:
        if split == "all":
            continue
        chosen = distribution[split].tasks
        rng = np.random.default_rng(20_221)  # a fixed sample, the same for every run
        if chosen is None:
            chosen = distribution[split].sample(rng, config.eval_tasks)
        elif len(chosen) > MOST_TASKS:
            chosen = chosen[rng.permutation(len(chosen))[: config.eval_tasks]]
        if not any(np.array_equal(chosen, other) for other in tasks.values() if other is not None):
            tasks[split] = np.asarray(chosen, np.float32)
    return tasks


def evaluation_batches(
    config: RunSettings,
) -> list[tuple[RunSettings, dict[str, np.ndarray[Any, Any] | None]]]:
    """Batches of an evaluation: for each, settings of its environments and tasks per split.

    With ``eval_env_id`` there is a second batch, with its test tasks (or train or eval tasks if it
    has none), under a name that is not a split of ``env_id``.

    Raises:
        ValueError: If an environment cannot be made, or has no tasks to evaluate.
    """
    tasks = evaluation_tasks(config)
    if not config.eval_env_id:
        return [(config, tasks)]
    other = dataclasses.replace(config, env_id=config.eval_env_id, eval_env_id="")
    theirs = evaluation_tasks(other)
    split = next((split for split in ("test", "train", "eval") if split in theirs), None)
    if split is None:
        raise ValueError(
            f"eval_env_id {config.eval_env_id} has the splits {list(theirs)}, expected test, train "
            "or eval"
        )
    own = EnvSource.of(config).facts().distribution
    taken = {*tasks, *(() if own is None else own.splits)}
    name = next(name for name in ("test", "eval", "eval_env_id") if name not in taken)
    return [(config, tasks), (other, {name: theirs[split]})]

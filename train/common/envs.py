"""The environments of a run, whatever the method."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

import ldm_envs  # noqa: F401  registers the LDM ids
from ldm_wrappers.vector import MultiEpisodeWrapper
from train.common.learner import AnyVectorEnv, Learner
from train.config.settings import RunSettings


def env_spec(env_id: str) -> gym.envs.registration.EnvSpec:
    """The specification of a registered environment; ``module:Id-v0`` imports the module.

    Raises:
        ValueError: There is none of this name.
    """
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gym.spec(name)
    except (gym.error.Error, ImportError, TypeError, ValueError) as error:
        raise ValueError(f"unknown env_id {env_id!r}: {error}") from None


def task_distribution(env_id: str) -> Any | None:
    """The task distribution of an environment, or ``None`` if it has none of its own."""
    env_spec(env_id)
    try:
        env = gym.make(env_id)
    except (gym.error.Error, ImportError) as error:  # a dependency of its own is missing
        raise ValueError(f"cannot make env_id {env_id!r}: {error}") from None
    distribution = getattr(env.unwrapped, "task_distribution", None)
    env.close()
    return distribution


def base_env(config: RunSettings, num_envs: int, split: str) -> AnyVectorEnv:
    """``num_envs`` environments that never reset by themselves; any registered id will do.

    Raises:
        ValueError: The id is not registered, or the method needs a split that it does not have.
    """
    spec = env_spec(config.env_id)
    arguments: dict[str, Any] = {}
    if task_distribution(config.env_id) is not None:
        arguments["split"] = split
    elif split != "train":
        raise ValueError(
            f"method {config.method} trains on split {split!r}, but {config.env_id} has no "
            "task_distribution"
        )
    entry_point: Any = spec.vector_entry_point
    if isinstance(entry_point, str):
        entry_point = gym.envs.registration.load_env_creator(entry_point)
    known = [] if entry_point is None else list(inspect.signature(entry_point).parameters)
    if "autoreset_mode" not in known:  # no batch of its own, or one that always resets itself
        return gym.make_vec(
            config.env_id,
            num_envs,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
            **arguments,
        )
    if config.num_threads is not None and "num_threads" in known:
        arguments["num_threads"] = config.num_threads
    return gym.make_vec(config.env_id, num_envs, autoreset_mode=AutoresetMode.DISABLED, **arguments)


def meta_episode_length(config: RunSettings) -> int:
    """H⁺ = N · H, the most steps of a meta-episode.

    Raises:
        ValueError: The environment declares no ``max_episode_steps``.
    """
    horizon = env_spec(config.env_id).max_episode_steps
    if horizon is None:
        raise ValueError(
            f"{config.env_id} declares no max_episode_steps, so meta-episodes have no bound; put "
            "gymnasium.wrappers.TimeLimit around it or register it with max_episode_steps"
        )
    return config.n_episodes * horizon


def evaluation_env(learner: Learner, env: AnyVectorEnv) -> AnyVectorEnv:
    """Meta-episodes of true rewards, with the observations that a learner's policy is shown.

    Args:
        learner: Whose policy acts.
        env: Environments that never reset by themselves.
    """
    return learner.evaluation_env(MultiEpisodeWrapper(env, learner.config.n_episodes))


def evaluation_tasks(config: RunSettings) -> dict[str, np.ndarray[Any, Any] | None]:
    """Tasks per split: all of a finite set, a fixed sample of a continuous one.

    Splits that are all there is (``"all"``) or repeat an earlier one are left out. An environment
    without a task distribution is judged on ``eval_tasks`` seeded resets, under ``"train"``.
    """
    distribution = task_distribution(config.env_id)
    if distribution is None:
        return {"train": None}
    tasks: dict[str, np.ndarray[Any, Any] | None] = {}
    for split in distribution.splits:
        if split == "all":
            continue
        chosen = distribution[split].tasks
        if chosen is None:
            rng = np.random.default_rng(20_221)  # a fixed sample, the same for every run
            chosen = distribution[split].sample(rng, config.eval_tasks)
        if not any(np.array_equal(chosen, other) for other in tasks.values() if other is not None):
            tasks[split] = np.asarray(chosen, np.float32)
    return tasks

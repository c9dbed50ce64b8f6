"""The environments of a run: the wrapper chain, from the inside out."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

import ldm_envs  # noqa: F401  registers the LDM ids
from ldm_wrappers.imagination import DirichletMixture
from ldm_wrappers.latent_dynamics import LatentDynamics, TrajectoryBuffer, TransitionSpec
from ldm_wrappers.vector import (
    BeliefObservationWrapper,
    ImaginaryRewardWrapper,
    MultiEpisodeWrapper,
    RL2ObservationWrapper,
)
from train.common.guard import Guard
from train.config.methods import get_method
from train.config.on_policy import OnPolicySettings

AnyVectorEnv = VectorEnv[Any, Any, Any]


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


def base_env(config: OnPolicySettings, num_envs: int, split: str) -> AnyVectorEnv:
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


def meta_episode_length(config: OnPolicySettings) -> int:
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


def make_latent_dynamics(
    config: OnPolicySettings, env: AnyVectorEnv, device: str
) -> tuple[LatentDynamics, TrajectoryBuffer]:
    """The VAE of a run, and the buffer of the trajectories that train it."""
    model = LatentDynamics(
        env.single_observation_space,
        env.single_action_space,
        config.latent_dynamics,
        seed=config.seed,
        device=device,
    )
    buffer = TrajectoryBuffer(
        model.spec,
        capacity=config.vae_buffer_trajectories,
        max_length=meta_episode_length(config),
        seed=config.seed,
    )
    return model, buffer


def training_env(
    config: OnPolicySettings, device: str
) -> tuple[AnyVectorEnv, LatentDynamics | None, TrajectoryBuffer | None]:
    """What the policy trains on: the whole chain up to stable-baselines3's part of it."""
    chosen = get_method(config.method)
    env: AnyVectorEnv = Guard(base_env(config, config.n_workers, chosen.split))
    TransitionSpec.from_spaces(env.single_observation_space, env.single_action_space)
    env = MultiEpisodeWrapper(env, config.n_episodes, finite_horizon=config.finite_horizon)
    model, buffer = None, None
    if chosen.has_latent_dynamics:
        model, buffer = make_latent_dynamics(config, env, device)
    if chosen.imaginary and model is not None:
        env = ImaginaryRewardWrapper(
            env,
            model,
            n_mixture=config.n_mixture,
            config=config.imagination,
            mixture=DirichletMixture(
                config.beta, config.mixture_components, config.mixture_per_dimension
            ),
            buffer=buffer,
            seed=config.seed,
        )
    if chosen.observation == "belief" and model is not None:
        env = BeliefObservationWrapper(env, model, buffer=buffer)
    else:
        env = RL2ObservationWrapper(env)
    return env, model, buffer


def evaluation_env(
    config: OnPolicySettings, num_envs: int, model: LatentDynamics | None
) -> AnyVectorEnv:
    """As :func:`training_env`, without imaginary tasks: what the policy is judged on."""
    return judged_env(config, Guard(base_env(config, num_envs, "train")), model)


def judged_env(
    config: OnPolicySettings, env: AnyVectorEnv, model: LatentDynamics | None
) -> AnyVectorEnv:
    """The wrappers of :func:`evaluation_env` around any environment that never resets itself."""
    env = MultiEpisodeWrapper(env, config.n_episodes)
    if get_method(config.method).observation == "belief":
        assert model is not None
        return BeliefObservationWrapper(env, model)
    return RL2ObservationWrapper(env)


def evaluation_tasks(config: OnPolicySettings) -> dict[str, np.ndarray[Any, Any] | None]:
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

"""Latent Dynamics Mixture around an environment in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from ldm_wrappers.arguments import check_integer, check_optional_seed, scalar_reward
from ldm_wrappers.imagination import ImaginationScheme, MixtureScheme
from ldm_wrappers.latent_dynamics import (
    LatentDynamics,
    LatentDynamicsConfig,
    LatentDynamicsTrainer,
    TrajectoryBuffer,
)
from ldm_wrappers.sb3.callbacks import LatentDynamicsCallback
from ldm_wrappers.sb3.vec_env import VectorEnvAdapter
from ldm_wrappers.step_limit import step_limit, with_step_limit
from ldm_wrappers.vector import ImaginaryRewardWrapper, MultiEpisodeWrapper, RL2ObservationWrapper


def imagine(
    env: VectorEnv[Any, Any, Any] | Callable[[], gym.Env[Any, Any]] | str,
    *,
    n_episodes: int = 2,
    n_mixture: int = 2,
    num_envs: int | None = None,
    max_episode_steps: int | None = None,
    config: LatentDynamicsConfig | None = None,
    mixture: MixtureScheme | None = None,
    imagination: ImaginationScheme | None = None,
    n_updates: int = 4,
    capacity: int = 1000,
    finite_horizon: bool = False,
    check_tasks: bool = True,
    seed: int = 0,
    device: str = "cpu",
    **trainer: Any,
) -> tuple[VectorEnvAdapter, LatentDynamicsCallback]:
    """Wrap an environment for stable-baselines3: some workers are rewarded by imaginary tasks.

    Returns the chain MultiEpisode → ImaginaryReward → RL2Observation → VectorEnvAdapter, and the
    callback that trains the latent dynamics together with the policy::

        vec_env, callback = imagine("Pendulum-v1", n_episodes=2, n_mixture=2)
        agent = SequenceRecurrentPPO(
            WholeSequenceLstmPolicy, vec_env, n_steps=400, batch_size=None
        )
        agent.learn(100_000, callback=callback)

    ``callback.trainer`` has the model and the buffer. Make ``n_steps`` a multiple of
    ``n_episodes`` · H: a rollout that splits a meta-episode cuts the gradients of a recurrent
    policy there.

    Evaluate on a separate environment: on this one, ``evaluate_policy`` and ``EvalCallback`` would
    average imaginary returns, reset the training tasks and fill the training buffer. Build the
    same chain without ``ImaginaryRewardWrapper``, from environments with the same step limit.

    Args:
        env: A vector environment with ``AutoresetMode.DISABLED``; or an id or a function that makes
            one environment, of which ``num_envs`` are then stepped one after another.
        n_episodes: Episodes N of one task in a meta-episode.
        n_mixture: Mixture workers among the environments.
        num_envs: Number of environments if ``env`` is an id or a function; 8 if ``None``.
        max_episode_steps: Maximum number of steps H of an episode; ``None`` uses the environment's
            own limit. Environments made here are truncated at it; a vector environment must end
            its episodes by itself. For an id, it replaces the registered limit.
        config: Configuration of the model; if ``None``, the default one with
            ``reward_scale="running"``.
        mixture: Mixture scheme, Eq. 1 with β = 1 if ``None``.
        imagination: How an imaginary task computes rewards; as in the paper if ``None``.
        n_updates: Gradient steps of the latent dynamics per rollout.
        capacity: Number of trajectories that the buffer stores.
        finite_horizon: See ``MultiEpisodeWrapper``.
        check_tasks: See ``MultiEpisodeWrapper``.
        seed: Seed of model, buffer, mixtures and trainer. The environments are seeded by the
            policy learner, with its own ``seed``.
        device: Device of the model.
        trainer: Further arguments of ``LatentDynamicsTrainer``; ``n_encoded_lengths`` is 10 and
            ``n_decoded_steps`` 100 unless they are given.

    Raises:
        ValueError: The environment resets by itself, has no step limit, or a number is out of
            range.
        TypeError: The spaces are not supported.
    """
    if max_episode_steps is not None:
        max_episode_steps = check_integer("max_episode_steps", max_episode_steps)
    batch = _vector_env(env, num_envs, max_episode_steps)
    horizon = max_episode_steps or _max_episode_steps(batch)
    # a separate key: the words of the bare seed are the seeds of its workers
    entropy = np.random.SeedSequence(check_optional_seed(seed), spawn_key=(0x1DA,))
    seeds = [int(word) for word in entropy.generate_state(4)]
    batch = MultiEpisodeWrapper(
        batch, n_episodes, finite_horizon=finite_horizon, check_tasks=check_tasks
    )
    model = LatentDynamics(
        batch.single_observation_space,
        batch.single_action_space,
        config or LatentDynamicsConfig(reward_scale="running"),
        seed=seeds[0],
        device=device,
    )
    buffer = TrajectoryBuffer(
        model.spec, capacity=capacity, max_length=n_episodes * horizon, seed=seeds[1]
    )
    wrapped = ImaginaryRewardWrapper(
        batch,
        model,
        n_mixture=n_mixture,
        mixture=mixture,
        buffer=buffer,
        imagination=imagination,
        seed=seeds[2],
    )
    options = {"n_encoded_lengths": 10, "n_decoded_steps": 100, **trainer}
    vae_trainer = LatentDynamicsTrainer(model, buffer, seed=seeds[3], **options)
    vec_env = VectorEnvAdapter(RL2ObservationWrapper(wrapped))
    return vec_env, LatentDynamicsCallback(vae_trainer, n_updates=n_updates)


def _vector_env(env: Any, num_envs: int | None, limit: int | None) -> VectorEnv[Any, Any, Any]:
    if isinstance(env, VectorEnv):
        if num_envs not in (None, env.num_envs):
            raise ValueError(
                f"num_envs = {num_envs} has no effect with a vector environment of "
                f"{env.num_envs}; leave it out, or pass an id or a function"
            )
        return env
    if isinstance(env, gym.Env) or not (isinstance(env, str) or callable(env)):
        raise TypeError(
            "env must be a vector environment, an id or a function that makes one environment, "
            f"got {env!r}"
        )

    def make() -> gym.Env[Any, Any]:
        if isinstance(env, str):
            made = gym.make(env, max_episode_steps=limit)
        else:
            made = with_step_limit(env(), limit)
        return gym.wrappers.TransformReward(made, scalar_reward)

    n = 8 if num_envs is None else check_integer("num_envs", num_envs)
    return SyncVectorEnv([make] * n, autoreset_mode=AutoresetMode.DISABLED)


def _max_episode_steps(env: VectorEnv[Any, Any, Any]) -> int:
    """H, or an error that says how to set it."""
    limit = step_limit(env)
    if limit is None:
        raise ValueError(
            f"{env} declares no max_episode_steps, so meta-episodes have no bound: pass "
            "max_episode_steps, and put gymnasium.wrappers.TimeLimit around each environment of a "
            "vector environment whose episodes do not end by themselves"
        )
    return limit

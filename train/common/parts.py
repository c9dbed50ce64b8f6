"""Parts of the on-policy scripts: VAE, adapter and arguments of PPO."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from ldm_wrappers.imagination import mixes_all
from ldm_wrappers.imagination.schemes import Mixture
from ldm_wrappers.latent_dynamics import LatentDynamics, LatentDynamicsTrainer, TrajectoryBuffer
from ldm_wrappers.sb3 import NormalizeWithRealReturns, VectorEnvAdapter
from ldm_wrappers.vector import MultiEpisodeWrapper
from train.common.envs import meta_episode_length
from train.common.learner import AnyVectorEnv
from train.config.on_policy import OnPolicySettings as Settings


def meta_episodes(config: Settings, env: AnyVectorEnv) -> AnyVectorEnv:
    """▸ meta-episodes, each of N episodes of one task."""
    return MultiEpisodeWrapper(
        env,
        config.n_episodes,
        finite_horizon=config.finite_horizon,
        stagger=config.stagger_workers,
    )


def latent_dynamics(
    config: Settings, env: AnyVectorEnv, device: str
) -> tuple[LatentDynamics, TrajectoryBuffer]:
    """The VAE, and the buffer of normal workers' trajectories that train it."""
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
        keeps=config.vae_buffer_keeps,
    )
    return model, buffer


def imagination_arguments(config: Settings) -> dict[str, Any]:
    """Arguments of an ``ImaginaryRewardWrapper`` that are settings."""
    return {
        "n_mixture": config.n_mixture_workers,
        "mixture": config.mixture,
        "imagination": config.imagination,
        "seed": config.seed,
    }


def saved_mixture(config: Settings, n_beliefs: int) -> Mixture:
    """The run's mixture scheme for its saved beliefs, of which there are more than workers.

    A scheme that mixes all beliefs mixed those of the normal workers during training, so the same
    number is used here; a mixture of hundreds would be close to their mean.

    Args:
        config: Settings of the run.
        n_beliefs: Number of saved beliefs.
    """
    if not mixes_all(config.mixture):
        return config.mixture
    n_components = min(config.n_normal_workers, n_beliefs)
    return dataclasses.replace(config.mixture, n_components=n_components)


def vae_trainer(
    config: Settings, model: LatentDynamics, buffer: TrajectoryBuffer
) -> LatentDynamicsTrainer:
    """Gradient steps on the ELBO of trajectories from the buffer."""
    return LatentDynamicsTrainer(
        model,
        buffer,
        learning_rate=config.vae_learning_rate,
        batch_trajectories=config.vae_trajectories,
        n_encoded_lengths=config.vae_encoded_lengths,
        n_decoded_steps=config.vae_decoded_steps,
        decay_updates=config.vae_decay_updates,
        averaging=config.vae_ema_decay,
        max_grad_norm=config.vae_max_grad_norm,
        seed=config.seed,
    )


def adapted(config: Settings, env: AnyVectorEnv) -> VecEnv:
    """▸ Stable-Baselines3's interface ▸ running normalisation."""
    vec_env: VecEnv = VectorEnvAdapter(env, info_keys=())
    if config.normalize_observation or config.normalize_reward:
        counted = (
            config.n_normal_workers if config.return_statistics == "real" else config.n_workers
        )
        vec_env = NormalizeWithRealReturns(
            vec_env,
            n_normal=counted,
            norm_obs=config.normalize_observation,
            norm_reward=config.normalize_reward,
            gamma=config.gamma,
        )
    return vec_env


@dataclasses.dataclass(frozen=True)
class LinearDecay:
    """A Stable-Baselines3 schedule: constant, then linear to 0 at the end of the run.

    Attributes:
        start: Value until the decay begins.
        begin: Share of the run's timesteps after which it begins, in [0, 1).
    """

    start: float
    begin: float

    def __call__(self, progress_remaining: float) -> float:
        """The value at ``progress_remaining``, which falls from 1 to 0."""
        # the last rollout may overshoot total_timesteps
        return self.start * min(1.0, max(0.0, progress_remaining) / (1.0 - self.begin))


def ppo_arguments(config: Settings, vec_env: VecEnv, device: str) -> dict[str, Any]:
    """Arguments shared by Stable-Baselines3's PPO and sb3-contrib's RecurrentPPO.

    Raises:
        ValueError: If ``log_std_init`` is given for discrete actions.
    """
    if config.log_std_init and not isinstance(vec_env.action_space, spaces.Box):
        raise ValueError(
            f"log_std_init = {config.log_std_init} needs continuous actions, got "
            f"{vec_env.action_space}"
        )
    rmsprop = config.optimizer == "rmsprop"
    policy_kwargs: dict[str, Any] = {
        "net_arch": list(config.net_arch),
        "log_std_init": config.log_std_init,
        "optimizer_class": torch.optim.RMSprop if rmsprop else torch.optim.Adam,
        "optimizer_kwargs": {"eps": config.optimizer_eps, **({"alpha": 0.99} if rmsprop else {})},
    }
    total = config.n_steps * config.n_workers
    return {
        "learning_rate": LinearDecay(config.learning_rate, config.lr_decay_start)
        if config.lr_decay_start < 1.0
        else config.learning_rate,
        "n_steps": config.n_steps,
        "batch_size": total // config.n_minibatches,
        "n_epochs": config.n_epochs,
        "gamma": config.gamma,
        "gae_lambda": config.gae_lambda,
        "clip_range": config.clip_range,
        "clip_range_vf": config.clip_range_vf,
        "target_kl": config.target_kl,
        "ent_coef": config.ent_coef,
        "vf_coef": config.vf_coef,
        "max_grad_norm": config.max_grad_norm,
        "normalize_advantage": config.normalize_advantage,
        "seed": config.seed,
        "device": device,
        "policy_kwargs": policy_kwargs,
    }

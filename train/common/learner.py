"""Puts environment, VAE and policy learner of a run together."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ldm_wrappers.latent_dynamics import LatentDynamics, LatentDynamicsTrainer
from ldm_wrappers.sb3 import (
    MixregRecurrentPPO,
    SequenceRecurrentPPO,
    VectorEnvAdapter,
    WholeSequenceLstmPolicy,
)
from train.common.envs import AnyVectorEnv, meta_episode_length, training_env
from train.config.methods import get_method
from train.config.on_policy import OnPolicySettings


@dataclasses.dataclass
class Learner:
    """All that trains in one run.

    Attributes:
        config: Its configuration.
        env: Gymnasium's part of the wrapper chain.
        vec_env: stable-baselines3's part of it.
        algorithm: The policy learner.
        model: The latent dynamics model, where the method has one.
        trainer: What trains it.
        average: Running average of the policy's weights, where the run keeps one.
    """

    config: OnPolicySettings
    env: AnyVectorEnv
    vec_env: VecEnv
    algorithm: OnPolicyAlgorithm
    model: LatentDynamics | None
    trainer: LatentDynamicsTrainer | None
    average: AveragedModel | None = None

    @property
    def judged_policy(self) -> ActorCriticPolicy:
        """What is evaluated and saved: the average of the policy's weights, or the newest ones."""
        policy: Any = self.algorithm.policy if self.average is None else self.average.module
        assert isinstance(policy, ActorCriticPolicy)
        return policy

    @property
    def normalizer(self) -> VecNormalize | None:
        """Running statistics of observations and rewards, where the run normalises."""
        return self.vec_env if isinstance(self.vec_env, VecNormalize) else None


def chosen_device(name: str) -> str:
    """The device called ``name`` if it is there; ``auto`` takes a GPU where there is one.

    Raises:
        ValueError: There is no such device; stable-baselines3 would take the CPU in silence.
    """
    try:
        device = torch.device(get_device("auto") if name == "auto" else name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used: {reason}") from None
    return str(device)


def build(config: OnPolicySettings) -> Learner:
    """Environment ► stable-baselines3 adapter ► VecNormalize ► policy learner.

    Raises:
        ValueError: Settings that contradict the environment.
    """
    device = chosen_device(config.device)
    check_steps(config)
    env, model, buffer = training_env(config, device)
    trainer = None
    if model is not None and buffer is not None:
        trainer = LatentDynamicsTrainer(
            model,
            buffer,
            learning_rate=config.vae_learning_rate,
            batch_trajectories=config.vae_trajectories,
            n_encoded_lengths=config.vae_encoded_lengths,
            n_decoded_steps=config.vae_decoded_steps,
            seed=config.seed,
        )
    vec_env: VecEnv = VectorEnvAdapter(env, info_keys=())
    if config.normalize_observation or config.normalize_reward:
        vec_env = VecNormalize(
            vec_env,
            norm_obs=config.normalize_observation,
            norm_reward=config.normalize_reward,
            gamma=config.gamma,
        )
    learner = Learner(config, env, vec_env, algorithm(config, vec_env, device), model, trainer)
    if config.policy_averaging:
        rule = get_ema_multi_avg_fn(config.policy_averaging)
        learner.average = AveragedModel(learner.algorithm.policy, multi_avg_fn=rule)
    return learner


@dataclasses.dataclass(frozen=True)
class LinearDecay:
    """A stable-baselines3 schedule: ``start`` at first, then linearly to 0 at the run's end.

    Attributes:
        start: Value until the decay begins.
        begin: Share of the run's timesteps after which it begins, in [0, 1).
    """

    start: float
    begin: float

    def __call__(self, progress_remaining: float) -> float:
        """The value while ``progress_remaining`` falls from 1 to 0."""
        # the last rollout may end behind the run's end
        return self.start * min(1.0, max(0.0, progress_remaining) / (1.0 - self.begin))


def algorithm(config: OnPolicySettings, vec_env: VecEnv, device: str) -> OnPolicyAlgorithm:
    """RecurrentPPO on whole workers (mixreg: on mixtures), or PPO where the policy sees beliefs."""
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
    arguments: dict[str, Any] = {
        "learning_rate": LinearDecay(config.learning_rate, config.anneal_from)
        if config.anneal_from < 1.0
        else config.learning_rate,
        "n_steps": config.n_steps,
        "batch_size": total // config.n_minibatches,
        "n_epochs": config.n_epochs,
        "gamma": config.gamma,
        "gae_lambda": config.gae_lambda,
        "clip_range": config.clip_range,
        "target_kl": config.target_kl,
        "ent_coef": config.ent_coef,
        "vf_coef": config.vf_coef,
        "max_grad_norm": config.max_grad_norm,
        "normalize_advantage": config.normalize_advantage,
        "seed": config.seed,
        "device": device,
    }
    if get_method(config.method).observation == "belief":
        return PPO("MlpPolicy", vec_env, policy_kwargs=policy_kwargs, **arguments)
    policy_kwargs |= {
        "lstm_hidden_size": config.lstm_hidden_size,
        "shared_lstm": True,
        "enable_critic_lstm": False,
        "value_trains_lstm": config.value_trains_lstm,
    }
    recurrent: type[SequenceRecurrentPPO] = SequenceRecurrentPPO
    if get_method(config.method).mixreg:
        recurrent = MixregRecurrentPPO
        arguments["mixreg_alpha"] = config.mixreg_alpha
    return recurrent(WholeSequenceLstmPolicy, vec_env, policy_kwargs=policy_kwargs, **arguments)


def check_steps(config: OnPolicySettings) -> None:
    """Refuse rollouts that split meta-episodes, unless the configuration asks for it.

    A feed-forward policy has nothing to lose by it: its memory is the belief it observes.
    """
    if get_method(config.method).observation == "belief":
        return
    length = meta_episode_length(config)
    if config.n_steps % length and not config.truncate_backpropagation:
        raise ValueError(
            f"n_steps = {config.n_steps} splits meta-episodes of {config.n_episodes} episodes "
            f"({length} steps), so gradients would not reach their beginning; expected a multiple "
            f"of {length}, or truncate_backpropagation"
        )

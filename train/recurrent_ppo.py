"""Train LDM, RL², Mixreg or their oracle: a recurrent policy on meta-episodes of hidden tasks.

    python train/recurrent_ppo.py --env-id LDM-GridNavi-v0 --method ldm --seed 0

From top to bottom: the wrapper chain, the policy learner, and how they are combined with the latent
dynamics model, which imagines rewards but plays no part in acting. The loop around them
(evaluation, metrics, checkpoints, Ctrl-C) is shared by all methods: ``train/common/training.py``.
Every setting is a flag whose default comes from the preset (``train/config/presets``).
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stable_baselines3.common.vec_env import VecEnv

from ldm_wrappers.latent_dynamics import LatentDynamics, TrajectoryBuffer, TransitionSpec
from ldm_wrappers.sb3 import (
    EncoderPolicy,
    MixregRecurrentPPO,
    SequenceRecurrentPPO,
    WholeSequenceLstmPolicy,
)
from ldm_wrappers.vector import (
    ImaginaryRewardWrapper,
    RL2ObservationWrapper,
    TaskObservationWrapper,
)
from train.common import training
from train.common.envs import base_env, meta_episode_length, required_distribution
from train.common.guard import FiniteCheckWrapper
from train.common.learner import AnyVectorEnv, chosen_device
from train.common.on_policy import OnPolicyLearner
from train.common.parts import (
    adapted,
    imagination_arguments,
    latent_dynamics,
    meta_episodes,
    ppo_arguments,
    vae_trainer,
)
from train.config.methods import get_method
from train.config.on_policy import OnPolicySettings as Settings

# --- the wrapper chain, from the inside out -------------------------------------------------------


def training_env(
    config: Settings, device: str
) -> tuple[AnyVectorEnv, LatentDynamics | None, TrajectoryBuffer | None]:
    """Batched env ▸ meta-episodes ▸ imaginary rewards ▸ previous action, reward and start flag."""
    method = get_method(config.method)
    env: AnyVectorEnv = FiniteCheckWrapper(base_env(config, config.n_workers, method.split))
    TransitionSpec.from_spaces(env.single_observation_space, env.single_action_space)
    env = meta_episodes(config, env)
    model, buffer = None, None
    if method.imaginary:
        model, buffer = latent_dynamics(config, env, device)
        env = ImaginaryRewardWrapper(env, model, buffer=buffer, **imagination_arguments(config))
    return shown(config, env), model, buffer


def shown(config: Settings, env: AnyVectorEnv) -> AnyVectorEnv:
    """▸ the task, for a method that is shown it ▸ previous action, reward and start flag."""
    if get_method(config.method).shows_task:
        tasks = required_distribution(config, "shows the task")
        env = TaskObservationWrapper(env, tasks.task_dim)
    return RL2ObservationWrapper(env)


# --- the policy learner ---------------------------------------------------------------------------


def recurrent_ppo(config: Settings, vec_env: VecEnv, device: str) -> SequenceRecurrentPPO:
    """sb3-contrib's RecurrentPPO on whole sequences, or on mixtures of them for Mixreg.

    With one epoch, one minibatch and RMSprop it is the paper's A2C.
    """
    arguments = ppo_arguments(config, vec_env, device)
    arguments["policy_kwargs"] |= {
        "lstm_hidden_size": config.lstm_hidden_size,
        "shared_lstm": True,
        "enable_critic_lstm": False,
        "value_trains_lstm": config.value_trains_lstm,
        "observation_to_heads": config.observation_to_heads,
    }
    policy: type[WholeSequenceLstmPolicy] = WholeSequenceLstmPolicy
    if config.policy_memory == "encoder":
        policy = EncoderPolicy
        arguments["policy_kwargs"] |= {
            "observation_width": config.encoder_observation_size,
            "action_width": config.encoder_action_size,
            "reward_width": config.encoder_reward_size,
            "latent_dim": config.latent_dim,
        }
    arguments["cut_at_time_limits"] = config.cut_at_time_limits
    algorithm: type[SequenceRecurrentPPO] = SequenceRecurrentPPO
    if get_method(config.method).mixreg:
        algorithm = MixregRecurrentPPO
        arguments["mixreg_alpha"] = config.mixreg_alpha
    return algorithm(policy, vec_env, **arguments)


def check_steps(config: Settings) -> None:
    """Refuse rollouts that split meta-episodes, unless the configuration asks for them."""
    length = meta_episode_length(config)
    if config.truncate_backpropagation:
        return
    if config.n_steps % length:
        raise ValueError(
            f"n_steps = {config.n_steps} splits meta-episodes of {config.n_episodes} episodes "
            f"({length} steps), so gradients would not reach their start; expected a multiple of "
            f"{length}, or truncate_backpropagation"
        )
    if config.stagger_workers:
        raise ValueError(
            "stagger_workers starts meta-episodes in the middle of rollouts, so gradients would "
            "not reach their start; expected truncate_backpropagation as well"
        )


# --- putting it together --------------------------------------------------------------------------


def build(config: Settings) -> OnPolicyLearner:
    """Build the wrapper chain, model and policy learner of a run, without training anything.

    Raises:
        ValueError: If settings contradict the environment.
    """
    device = chosen_device(config.device)
    check_steps(config)
    env, model, buffer = training_env(config, device)
    trainer = None
    if model is not None and buffer is not None:
        trainer = vae_trainer(config, model, buffer)
    algorithm = recurrent_ppo(config, adapted(config, env), device)
    return OnPolicyLearner(config, env, algorithm, partial(shown, config), trainer)


# Repeat: rollout ▸ policy update, and VAE updates in parallel ▸ evaluation, metrics, checkpoint.
train = partial(training.train, build)
main = partial(training.main, "train.recurrent_ppo", build)


if __name__ == "__main__":
    sys.exit(main())

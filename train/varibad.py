"""Train variBAD, its oracle or LDM on variBAD: a feed-forward policy that observes the belief.

    python train/varibad.py --env-id LDM-GridNavi-v0 --seed 0

Zintgraf et al., "VariBAD" (ICLR 2020). From top to bottom: the wrapper chain, the policy learner,
and how they are combined. The loop around them is in ``train/common/training.py``.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stable_baselines3 import PPO

from ldm_wrappers.latent_dynamics import LatentDynamics, TrajectoryBuffer, TransitionSpec
from ldm_wrappers.sb3.time_limits import TimeLimitPPO
from ldm_wrappers.vector import BeliefObservationWrapper, ImaginaryRewardWrapper
from train.common import training
from train.common.envs import base_env
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


def training_env(
    config: Settings, device: str
) -> tuple[AnyVectorEnv, LatentDynamics, TrajectoryBuffer]:
    """Batched env ▸ meta-episodes ▸ belief (mean and log-variance) added to the observation.

    LDM on variBAD imagines rewards in between. The beliefs of mixture workers are then about their
    imaginary tasks, and only the trajectories of normal workers train the VAE.
    """
    method = get_method(config.method)
    env: AnyVectorEnv = FiniteCheckWrapper(base_env(config, config.n_workers, method.split))
    TransitionSpec.from_spaces(env.single_observation_space, env.single_action_space)
    env = meta_episodes(config, env)
    model, buffer = latent_dynamics(config, env, device)
    if not method.imaginary:
        return BeliefObservationWrapper(env, model, buffer=buffer), model, buffer
    env = ImaginaryRewardWrapper(env, model, buffer=buffer, **imagination_arguments(config))
    return BeliefObservationWrapper(env, model), model, buffer


def build(config: Settings) -> OnPolicyLearner:
    """Build the wrapper chain, model and policy learner of a run, without training anything.

    The policy's only memory is the belief that it observes, so rollouts may split meta-episodes.

    Raises:
        ValueError: If settings contradict the environment.
    """
    device = chosen_device(config.device)
    env, model, buffer = training_env(config, device)
    vec_env = adapted(config, env)
    arguments = ppo_arguments(config, vec_env, device)
    ppo = TimeLimitPPO if config.cut_at_time_limits else PPO
    algorithm = ppo("MlpPolicy", vec_env, **arguments)

    def show(env: AnyVectorEnv) -> AnyVectorEnv:
        return BeliefObservationWrapper(env, model)

    return OnPolicyLearner(config, env, algorithm, show, vae_trainer(config, model, buffer))


# Repeat: rollout ▸ policy update, and VAE updates in parallel ▸ evaluation, metrics, checkpoint.
train = partial(training.train, build)
main = partial(training.main, "train.varibad", build)


if __name__ == "__main__":
    sys.exit(main())

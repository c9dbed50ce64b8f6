"""Rewards with dimensions, such as one entry per objective, are named before they are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from ldm_wrappers import (
    BeliefObservationWrapper,
    BeliefPool,
    BeliefPublisherWrapper,
    ImaginaryRewardWrapper,
    LatentDynamics,
    LatentDynamicsConfig,
    MultiEpisodeWrapper,
    RL2ObservationWrapper,
    SavedBeliefs,
)
from ldm_wrappers.sb3 import imagine
from train.common.envs import base_env
from train.config.presets import resolve

Env = gym.Env[Any, Any]


def pendulum(shape: tuple[int, ...] = (2,)) -> Env:
    env = gym.make("Pendulum-v1", max_episode_steps=5)
    return gym.wrappers.TransformReward(env, lambda _: np.ones(shape))  # type: ignore[arg-type]


def model() -> LatentDynamics:
    env = pendulum()
    sizes = LatentDynamicsConfig(latent_dim=2)
    return LatentDynamics(env.observation_space, env.action_space, sizes)


SCALAR: dict[str, Callable[[Env], Env]] = {
    "meta-episodes": lambda env: MultiEpisodeWrapper(env, 2),
    "previous reward": RL2ObservationWrapper,
    "belief": lambda env: BeliefObservationWrapper(env, model()),
    "publisher": lambda env: BeliefPublisherWrapper(env, model(), BeliefPool(1, 2), 0),
    "imaginary": lambda env: ImaginaryRewardWrapper(
        env, model(), SavedBeliefs(np.zeros((1, 2, 2), np.float32))
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("shape", [(1,), (2,)])
def test_scalar_wrappers(name: str, shape: tuple[int, ...]) -> None:
    env = SCALAR[name](pendulum(shape))
    env.reset(seed=0)
    with pytest.raises(TypeError, match=r"reward array\(\[1\..*\), expected a number.*Transform"):
        env.step(env.action_space.sample())


@pytest.mark.filterwarnings("ignore")
def test_batches() -> None:
    actions = np.zeros((3, 1), np.float32)
    adapter = imagine(pendulum, num_envs=3, n_mixture=1)[0]
    adapter.reset()
    with pytest.raises(TypeError, match="expected a number"):
        adapter.step(actions)
    config = resolve(f"{__name__}:pendulum", "rl2", num_threads=1)
    batch = base_env(config, 3, "train")
    batch.reset(seed=0)
    with pytest.raises(TypeError, match="expected a number"):
        batch.step(actions)

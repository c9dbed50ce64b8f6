"""Parts of another type, or classes instead of objects, are refused where they are passed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ldm_wrappers import (
    BeliefObservationWrapper,
    BeliefPool,
    BeliefPublisherWrapper,
    DirichletMixture,
    ExpectedReward,
    ImaginaryRewardWrapper,
    LatentDynamics,
    LatentDynamicsConfig,
    PlausibleTasks,
    SavedBeliefs,
    TrajectoryBuffer,
    vector,
)
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer
from ldm_wrappers.sb3 import LatentDynamicsCallback, imagine

ID = "Pendulum-v1"
single = gym.make(ID)
model = LatentDynamics(single.observation_space, single.action_space)
buffer = TrajectoryBuffer(model.spec, capacity=3, max_length=9)
beliefs = SavedBeliefs(np.zeros((3, 2, model.config.latent_dim)))


def batch(n: int = 3) -> Any:
    made = SyncVectorEnv([lambda: gym.make(ID)] * n, autoreset_mode=AutoresetMode.DISABLED)
    return vector.MultiEpisodeWrapper(made, 2, check_tasks=False)


def imagined(**parts: Any) -> Any:
    return vector.ImaginaryRewardWrapper(batch(), model, n_mixture=1, **parts)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ImaginaryRewardWrapper(single, "m.safetensors", beliefs), "latent_dynamics must"),
        (lambda: ImaginaryRewardWrapper(single, model, "b.safetensors"), "beliefs must be a Bel"),
        (lambda: ImaginaryRewardWrapper(single, model, np.zeros((3, 2))), "SavedBeliefs.load"),
        (lambda: ImaginaryRewardWrapper(single, model, SavedBeliefs), "beliefs must be"),
        (
            lambda: ImaginaryRewardWrapper(single, model, beliefs, mixture=DirichletMixture),
            "mixture must be a mixture scheme, such as DirichletMixture",
        ),
        (
            lambda: ImaginaryRewardWrapper(single, model, beliefs, imagination=PlausibleTasks),
            "imagination must be an imagination scheme, such as ExpectedReward",
        ),
        (lambda: imagined(mixture=3), "mixture must be a mixture scheme.*got 3"),
        (lambda: imagined(mixture=ExpectedReward()), "mixture must be a mixture scheme"),
        (lambda: imagined(imagination="paper"), "imagination must be .*got 'paper'"),
        (lambda: imagined(buffer=[]), "buffer must be a TrajectoryBuffer, got"),
        (
            lambda: vector.ImaginaryRewardWrapper(batch(), model.config, n_mixture=1),
            "latent_dynamics must be a LatentDynamics, got LatentDynamicsConfig",
        ),
        (lambda: vector.BeliefObservationWrapper(batch(), None), "latent_dynamics must"),
        (lambda: BeliefObservationWrapper(single, model, buffer=True), "buffer must be a Traj"),
        (lambda: BeliefObservationWrapper(single, buffer), "latent_dynamics must"),
        (lambda: BeliefPublisherWrapper(single, model, beliefs, 0), "pool must be a BeliefPool"),
        (lambda: BeliefPublisherWrapper(single, LatentDynamics, BeliefPool(2, 5), 0), "latent_dyn"),
        (lambda: LatentDynamicsTrainer(buffer, model), "model must be a LatentDynamics, got"),
        (lambda: LatentDynamicsTrainer(model, batch()), "buffer must be a TrajectoryBuffer, got"),
        (lambda: LatentDynamicsCallback(model, 2), "trainer must be a LatentDynamicsTrainer"),
        (
            lambda: LatentDynamics(
                single.observation_space, single.action_space, {"latent_dim": 5}
            ),
            "config must be a LatentDynamicsConfig, got {'latent_dim': 5}",
        ),
        (lambda: imagine(ID, config=LatentDynamicsConfig, check_tasks=False), "config must be a"),
        (lambda: imagine(ID, mixture=DirichletMixture, check_tasks=False), "mixture must be a"),
    ],
)
def test_a_part_of_another_type_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_too_few_environments_for_both_kinds_of_workers() -> None:
    with pytest.raises(ValueError, match=r"num_envs must be at least 2, .*got 1"):
        imagine(ID, num_envs=1, check_tasks=False)

"""NumPy's integers and 0-d arrays where Python's are accepted; a clear error for all else."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from reference_models import small_model
from wrapper_stubs import ScriptedEnv, scripted_vector

import ldm_envs  # noqa: F401
from ldm_wrappers import BeliefPool, LatentDynamics, MultiEpisodeWrapper, TrajectoryBuffer, vector
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer
from ldm_wrappers.sb3 import (
    LatentDynamicsCallback,
    NormalizeWithRealReturns,
    SequenceRecurrentPPO,
    VectorEnvAdapter,
    WholeSequenceLstmPolicy,
)

ENV = ScriptedEnv()


def adapter() -> VectorEnvAdapter:
    return VectorEnvAdapter(
        vector.RL2ObservationWrapper(vector.MultiEpisodeWrapper(scripted_vector((2,), (2,)), 1))
    )


def trainer(**kwargs: Any) -> LatentDynamicsTrainer:
    model = small_model(ENV)
    buffer = TrajectoryBuffer(model.spec, capacity=2, max_length=2)
    return LatentDynamicsTrainer(model, buffer, **kwargs)


BUILDERS: dict[str, Any] = {
    "model seed": lambda n: LatentDynamics(ENV.observation_space, ENV.action_space, seed=n),
    "trainer seed": lambda n: trainer(seed=n),
    "batch_trajectories": lambda n: trainer(batch_trajectories=n),
    "capacity": lambda n: TrajectoryBuffer(small_model(ENV).spec, capacity=n, max_length=2),
    "max_length": lambda n: TrajectoryBuffer(small_model(ENV).spec, capacity=2, max_length=n),
    "buffer seed": lambda n: TrajectoryBuffer(
        small_model(ENV).spec, capacity=2, max_length=2, seed=n
    ),
    "n_beliefs": lambda n: BeliefPool(n, 3),
    "latent_dim": lambda n: BeliefPool(2, n),
    "n_episodes": lambda n: MultiEpisodeWrapper(ENV, n),
    "vector n_episodes": lambda n: vector.MultiEpisodeWrapper(scripted_vector((2,)), n),
    "n_mixture": lambda n: vector.ImaginaryRewardWrapper(
        vector.MultiEpisodeWrapper(scripted_vector(*[(2,)] * 4), 1), small_model(ENV), n_mixture=n
    ),
    "n_updates": lambda n: LatentDynamicsCallback(trainer(), n),
    "n_normal": lambda n: NormalizeWithRealReturns(adapter(), n_normal=n),
    "algorithm seed": lambda n: SequenceRecurrentPPO(
        WholeSequenceLstmPolicy, adapter(), n_steps=2, batch_size=None, seed=n
    ),
}


@pytest.mark.parametrize("name", list(BUILDERS))
def test_numpy_integers_are_integers(name: str) -> None:
    for number in (np.int64(2), np.uint8(2), np.array(2)):
        BUILDERS[name](number)


@pytest.mark.parametrize("name", list(BUILDERS))
@pytest.mark.parametrize("bad", [2.0, "2", True, np.float32(2), np.array([2]), np.array(True)])
def test_other_values_are_refused_and_shown(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=r"must be an? .*integer, got|got "):
        BUILDERS[name](bad)


def test_equal_seeds_of_any_type_give_equal_weights() -> None:
    one, other = (
        LatentDynamics(ENV.observation_space, ENV.action_space, seed=seed)
        for seed in (3, np.array(3, np.int16))
    )
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], value)


@pytest.mark.parametrize("n", [np.int32(3), np.array(3)])
def test_wrapped_resets_take_numpy_seeds(n: Any) -> None:
    env = MultiEpisodeWrapper(gym.make("LDM-GridNavi-v0").unwrapped, n)
    task = env.reset(seed=n)[1]["task"]
    np.testing.assert_array_equal(env.reset(seed=3)[1]["task"], task)

"""A10: LDM on environments that nobody here wrote, by the public API alone."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import VecNormalize

from ldm_wrappers import (
    BeliefPool,
    BeliefPublisherWrapper,
    DirichletMixture,
    ImaginaryRewardWrapper,
    LatentDynamics,
    LatentDynamicsConfig,
    MultiEpisodeWrapper,
    RL2ObservationWrapper,
    TrajectoryBuffer,
    vector,
)
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer
from ldm_wrappers.sb3 import (
    LatentDynamicsCallback,
    SequenceRecurrentPPO,
    VectorEnvAdapter,
    WholeSequenceLstmPolicy,
)


class GoalOffset(gym.Wrapper[Any, Any, Any, Any]):
    """Pendulum that has to be held at a hidden angle instead of upright."""

    offset: float | None = None

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        result = self.env.reset(seed=seed, options=options)
        if self.offset is None or not (options or {}).get("keep_task"):
            self.offset = float(self.unwrapped.np_random.uniform(-2.0, 2.0))
        return result

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        angle = np.arctan2(observation[1], observation[0]) - self.offset
        reward = float(reward) - float(np.cos(angle) - observation[0])
        return observation, reward, terminated, truncated, info


def pendulum() -> gym.Env[Any, Any]:
    return GoalOffset(gym.make("Pendulum-v1", max_episode_steps=15))


def cart_pole() -> gym.Env[Any, Any]:
    """Discrete actions, and episodes that end when the pole falls."""
    return gym.make("CartPole-v1", max_episode_steps=25)


@pytest.mark.parametrize("make", [pendulum, cart_pole])
def test_ldm_trains(make: Any) -> None:
    base = SyncVectorEnv([make] * 6, autoreset_mode=AutoresetMode.DISABLED)
    meta = vector.MultiEpisodeWrapper(base, 2)
    dynamics = LatentDynamics(
        meta.single_observation_space,
        meta.single_action_space,
        LatentDynamicsConfig(latent_dim=3, encoder_hidden_size=16),
    )
    buffer = TrajectoryBuffer(dynamics.spec, capacity=100, max_length=50)
    imagined = vector.ImaginaryRewardWrapper(
        meta, dynamics, n_mixture=2, mixture=DirichletMixture(2.0), buffer=buffer, seed=0
    )
    venv = VecNormalize(
        VectorEnvAdapter(vector.RL2ObservationWrapper(imagined), info_keys=()), gamma=0.9
    )
    model = SequenceRecurrentPPO(
        WholeSequenceLstmPolicy,
        venv,
        n_steps=30,
        batch_size=90,
        n_epochs=2,
        seed=0,
        device="cpu",
        policy_kwargs={"lstm_hidden_size": 16, "net_arch": [16]},
    )
    trainer = LatentDynamicsTrainer(
        dynamics, buffer, batch_trajectories=8, n_encoded_lengths=8, learning_rate=3e-3
    )
    losses: list[float] = []

    class Keep(LatentDynamicsCallback):
        def _on_rollout_start(self) -> None:
            super()._on_rollout_start()
            losses.append(self.logger.name_to_value.get("latent_dynamics/loss", np.nan))

    before = [
        torch.cat([p.detach().ravel() for p in m.parameters()]) for m in (dynamics, model.policy)
    ]
    model.learn(30 * 6 * 8, callback=Keep(trainer, 4))
    after = [
        torch.cat([p.detach().ravel() for p in m.parameters()]) for m in (dynamics, model.policy)
    ]
    for one, other in zip(before, after, strict=True):
        assert torch.isfinite(other).all() and not torch.equal(one, other)
    assert len(losses) == 8 and np.isfinite(losses[2:]).all()  # no task has ended in the first
    assert losses[-1] < losses[2]
    lengths = buffer.get(np.arange(len(buffer))).lengths
    assert len(buffer) >= 20 and bool((lengths > 0).all())
    assert (lengths.min() == 30) == (make is pendulum)  # the cart pole's episodes vary
    # imaginary rewards are paid to the mixture workers only
    rewards, infos = imagined.step(meta.action_space.sample())[1::3]
    np.testing.assert_array_equal(rewards[:4], infos["environment_reward"][:4])
    assert np.isfinite(rewards).all() and (rewards[4:] != infos["environment_reward"][4:]).all()


@pytest.mark.parametrize("make", [pendulum, cart_pole])
def test_single_environments_work_too(make: Any) -> None:
    one = MultiEpisodeWrapper(make(), 2)
    dynamics = LatentDynamics(one.observation_space, one.action_space)
    pool = BeliefPool(2, dynamics.config.latent_dim)
    buffer = TrajectoryBuffer(dynamics.spec, capacity=10, max_length=50)
    envs: list[Any] = [
        BeliefPublisherWrapper(MultiEpisodeWrapper(make(), 2), dynamics, pool, i, buffer=buffer)
        for i in range(2)
    ]
    envs.append(RL2ObservationWrapper(ImaginaryRewardWrapper(one, dynamics, pool, seed=0)))
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
        env.action_space.seed(seed)
    for _ in range(150):
        for env in envs:
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            assert np.isfinite(reward) and observation in env.observation_space
            if terminated or truncated:
                env.reset()
    assert len(buffer) >= 4
    losses = LatentDynamicsTrainer(dynamics, buffer).update(3)
    assert np.isfinite(losses["loss"])


def test_non_finite_rewards_stop_and_name_the_worker() -> None:
    class Broken(gym.RewardWrapper[Any, Any]):
        def reward(self, reward: Any) -> Any:
            return float("nan")

    makers = [cart_pole, lambda: Broken(cart_pole()), cart_pole]
    meta = vector.MultiEpisodeWrapper(
        SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED), 1
    )
    dynamics = LatentDynamics(meta.single_observation_space, meta.single_action_space)
    env = VectorEnvAdapter(vector.ImaginaryRewardWrapper(meta, dynamics, n_mixture=1))
    env.reset()
    with pytest.raises(FloatingPointError, match="reward of worker 1 is not finite: nan"):
        env.step(np.zeros(3, np.int64))

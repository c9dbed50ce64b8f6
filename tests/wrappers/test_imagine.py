"""One call wraps an environment: the same chain as by hand, for any way to name it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from test_foreign_envs import pendulum

from ldm_wrappers import DirichletMixture, ExpectedReward
from ldm_wrappers.sb3 import SequenceRecurrentPPO, WholeSequenceLstmPolicy, imagine
from ldm_wrappers.vector import ImaginaryRewardWrapper


def vector_pendulum() -> Any:
    return SyncVectorEnv([pendulum] * 4, autoreset_mode=AutoresetMode.DISABLED)


@pytest.mark.parametrize("env", [pendulum, vector_pendulum])
@pytest.mark.filterwarnings("ignore::ldm_wrappers.TaskProtocolWarning")
def test_what_it_returns_trains(env: Any) -> None:
    given = env() if env is vector_pendulum else env
    vec_env, callback = imagine(
        given, n_episodes=2, n_mixture=1, num_envs=4, n_updates=1, batch_trajectories=3
    )
    layer: Any = vec_env.env
    while not isinstance(layer, ImaginaryRewardWrapper):
        layer = layer.env
    assert (layer.num_envs, layer.n_mixture) == (4, 1)
    buffer = callback.trainer.buffer
    assert buffer.max_length == 30 and layer.latent_dynamics is callback.trainer.model
    agent = SequenceRecurrentPPO(
        WholeSequenceLstmPolicy, vec_env, n_steps=30, batch_size=None, n_epochs=1, seed=0
    )
    agent.learn(240, callback=callback)
    assert len(buffer) == 6 and callback.trainer.n_updates == 2
    assert callback.trainer.model.config.reward_scale == "running"


@pytest.mark.filterwarnings("ignore::ldm_wrappers.TaskProtocolWarning")
@pytest.mark.parametrize("by_id", [False, True])
def test_environments_without_a_limit_get_the_one_that_is_given(by_id: bool) -> None:
    """Without it no episode would end, and the VAE would never see a trajectory."""
    gym.register("Endless-v0", lambda: pendulum().unwrapped)
    try:
        env: Any = "Endless-v0" if by_id else lambda: pendulum().unwrapped
        vec_env, callback = imagine(
            env, num_envs=4, n_mixture=1, max_episode_steps=15, n_updates=1, batch_trajectories=3
        )
    finally:
        gym.registry.pop("Endless-v0")
    agent = SequenceRecurrentPPO(
        WholeSequenceLstmPolicy, vec_env, n_steps=30, batch_size=None, n_epochs=1, seed=0
    )
    agent.learn(240, callback=callback)
    assert len(callback.trainer.buffer) == 6 and callback.trainer.n_updates == 2


@pytest.mark.filterwarnings("ignore::ldm_wrappers.TaskProtocolWarning")
def test_a_batch_whose_episodes_do_not_end_is_noticed() -> None:
    endless = [lambda: pendulum().unwrapped] * 3
    batch = SyncVectorEnv(endless, autoreset_mode=AutoresetMode.DISABLED)
    vec_env, _ = imagine(batch, n_mixture=1, max_episode_steps=15)
    vec_env.reset()
    actions = np.zeros((3, 1), np.float32)
    for _ in range(30):
        vec_env.step(actions)
    with pytest.warns(UserWarning, match=r"more than the 30 steps.*TimeLimit"):
        vec_env.step(actions)
    with pytest.raises(ValueError, match="max_episode_steps must be at least 1, got 0"):
        imagine(pendulum, max_episode_steps=0)


def test_each_argument_reaches_the_part_that_it_is_for() -> None:
    mixture, tasks = DirichletMixture(beta=3.0), ExpectedReward(final_beliefs=True)
    vec_env, callback = imagine(
        "LDM-GridNavi-v0",
        n_mixture=1,
        num_envs=3,
        max_episode_steps=3,
        mixture=mixture,
        imagination=tasks,
        capacity=3,
        finite_horizon=True,
        n_decoded_steps=4,
    )
    trainer, running = callback.trainer, vec_env.get_attr("imagination")[0]
    assert running.mixture == mixture and running.final_beliefs
    assert (trainer.n_encoded_lengths, trainer.n_decoded_steps) == (10, 4)
    vec_env.reset()
    for _ in range(2):
        for _ in range(6):
            dones, infos = vec_env.step(np.zeros(3, np.int64))[2:]
        assert dones.all() and not any(info["TimeLimit.truncated"] for info in infos)
    assert len(trainer.buffer) == 3  # of two tasks of two normal workers


def test_it_is_deterministic_in_its_seed() -> None:
    """In its model, buffer, mixtures and trainer."""

    def random_parts(seed: int) -> list[Any]:
        vec_env, callback = imagine("LDM-GridNavi-v0", n_episodes=2, seed=seed)
        trainer, imagination = callback.trainer, vec_env.get_attr("imagination")[0]
        return [
            trainer.model.encoder.mean.weight.tolist(),
            trainer.buffer.state_dict()["rng"],
            imagination.rng.bit_generator.state,
            imagination.generator.get_state().tolist(),
            trainer.generator.get_state().tolist(),
        ]

    assert random_parts(0) == random_parts(0)
    assert all(one != other for one, other in zip(random_parts(0), random_parts(1), strict=True))


def test_environments_that_cannot_be_wrapped_are_refused_with_a_way_out() -> None:
    with pytest.raises(TypeError, match="a function that makes one"):
        imagine(gym.make("CartPole-v1"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pass max_episode_steps"):
        imagine("Blackjack-v1")
    with pytest.raises(ValueError, match="autoreset_mode=DISABLED"):
        imagine(gym.make_vec("CartPole-v1", num_envs=3))
    limited = lambda: gym.wrappers.TimeLimit(gym.make("CartPole-v1").unwrapped, 9)  # noqa: E731
    assert imagine(limited)[1].trainer.buffer.max_length == 18
    batched = gym.make_vec("LDM-GridNavi-v0", num_envs=3, autoreset_mode=AutoresetMode.DISABLED)
    assert imagine(batched, n_episodes=4)[1].trainer.buffer.max_length == 120


@pytest.mark.filterwarnings("ignore::ldm_wrappers.TaskProtocolWarning")
def test_the_limit_of_an_id_may_be_raised_and_that_of_a_function_may_not() -> None:
    vec_env, callback = imagine("Pendulum-v1", num_envs=3, n_mixture=1, max_episode_steps=400)
    assert callback.trainer.buffer.max_length == 800
    vec_env.reset()
    for _ in range(799):
        dones = vec_env.step(np.zeros((3, 1), np.float32))[2]
    assert not dones.any()
    assert vec_env.step(np.zeros((3, 1), np.float32))[2].all()
    with pytest.raises(ValueError, match="max_episode_steps = 400 has no effect"):
        imagine(lambda: gym.make("Pendulum-v1"), max_episode_steps=400)


def test_numbers_of_environments_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"num_envs = 64 has no effect with.*of 4"):
        imagine(vector_pendulum(), num_envs=64)
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        imagine(pendulum, num_envs=0)
    with pytest.raises(ValueError, match=r"num_envs must be an integer, got 2\.5"):
        imagine(pendulum, num_envs=2.5)  # type: ignore[arg-type]

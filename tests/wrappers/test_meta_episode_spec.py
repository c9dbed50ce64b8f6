"""What a meta-episode says of itself: its length, and which observations it takes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RescaleObservation, TimeAwareObservation
from wrapper_stubs import ScriptedEnv

import ldm_envs  # noqa: F401
from ldm_wrappers import MultiEpisodeWrapper, RL2ObservationWrapper, vector
from ldm_wrappers.step_limit import step_limit


@pytest.mark.parametrize(
    ("env_id", "horizon", "n"), [("LDM-GridNavi-v0", 7, 3), ("Pendulum-v1", 5, np.int64(2))]
)
def test_the_length_is_n_times_the_episodes(env_id: str, horizon: int, n: Any) -> None:
    def make() -> gym.Env[Any, Any]:
        return gym.make(env_id, max_episode_steps=horizon)

    env = RL2ObservationWrapper(MultiEpisodeWrapper(make(), n))
    assert env.spec is not None and env.spec.max_episode_steps == n * horizon
    assert make().spec.max_episode_steps == horizon  # type: ignore[union-attr]
    batch = gym.make_vec(
        env_id,
        2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
        max_episode_steps=horizon,
    )
    inner = batch.spec.max_episode_steps if batch.spec is not None else None
    wrapped = vector.MultiEpisodeWrapper(batch, n)
    if inner is not None:
        # make_vec leaves the registered limit there, the environments have their own
        assert wrapped.spec is not None and wrapped.spec.max_episode_steps == n * horizon
        assert batch.spec is not None and batch.spec.max_episode_steps == inner


@pytest.mark.parametrize("outer", [4, 99])
def test_of_several_limits_the_one_that_ends_episodes_counts(outer: int) -> None:
    """And in a batch that of the longest episodes, which the VAE's buffer must hold."""

    def make(limit: int) -> gym.Env[Any, Any]:
        inner = gym.make("LDM-GridNavi-v0", max_episode_steps=9)
        return gym.wrappers.TimeLimit(inner, limit)

    env = make(outer)
    env.reset(seed=0)
    assert step_limit(env) == next(t for t in range(1, 100) if env.step(0)[3])
    makers = [lambda: make(3), lambda: make(outer)]
    batch = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
    assert step_limit(batch) == step_limit(env)


def test_batches_of_ours_say_so_too() -> None:
    base = gym.make_vec("LDM-GridNavi-v0", 2, autoreset_mode="Disabled")
    env = vector.RL2ObservationWrapper(vector.MultiEpisodeWrapper(base, 4))
    assert env.spec is not None and env.spec.max_episode_steps == 120
    assert base.spec is not None and base.spec.max_episode_steps == 30


def test_environments_without_a_limit_have_none() -> None:
    assert MultiEpisodeWrapper(ScriptedEnv(), 2).spec is None


@pytest.mark.parametrize("normalize_time", [True, False])
def test_time_stays_in_its_box(normalize_time: bool) -> None:
    inner = gym.make("LDM-GridNavi-v0", max_episode_steps=4)
    env = TimeAwareObservation(MultiEpisodeWrapper(inner, 3), normalize_time=normalize_time)
    env.reset(seed=0)
    for _ in range(12):
        observation, _, terminated, truncated, _ = env.step(0)
        assert env.observation_space.contains(observation)
    assert terminated or truncated


def test_an_environment_of_the_spec_ends_its_episodes_as_this_one() -> None:
    base = TimeAwareObservation(gym.make("LDM-GridNavi-v0", max_episode_steps=4))
    env = MultiEpisodeWrapper(
        RescaleObservation(base, np.float32(0), np.float32(1)), 3, finite_horizon=True
    )
    again: Any = gym.make(env.spec)  # type: ignore[arg-type]
    twice: Any = gym.make(again.spec)
    assert env.spec == again.spec == twice.spec
    for one in (env, again, twice):
        one.reset(seed=3)
    for _ in range(12):
        expected = env.step(1)
        for one in (again, twice):
            np.testing.assert_equal(one.step(1), expected)
    assert expected[2]


SPACES = [
    spaces.Dict(a=spaces.Box(-1, 1, (1,))),
    spaces.Tuple([spaces.Box(-1, 1, (1,)), spaces.Discrete(2)]),
    spaces.Text(3),
]


class Shown(gym.Env[Any, Any]):
    action_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space = space

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return self.observation_space.sample(), 0.0, False, self.t == 2, {}


@pytest.mark.parametrize("space", SPACES)
def test_observations_that_are_no_arrays_are_refused_when_built(space: Any) -> None:
    with pytest.raises(TypeError, match=r"arrays.*(Flatten|Transform)Observation"):
        MultiEpisodeWrapper(Shown(space), 2)
    batch = SyncVectorEnv([lambda: Shown(space)], autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(TypeError, match=r"arrays.*(Flatten|Transform)Observation"):
        vector.MultiEpisodeWrapper(batch, 2)


@pytest.mark.parametrize("space", SPACES[:2])
def test_the_hint_works(space: Any) -> None:
    def make() -> gym.Env[Any, Any]:
        return gym.wrappers.FlattenObservation(Shown(space))

    batch = SyncVectorEnv([make], autoreset_mode=AutoresetMode.DISABLED)
    for env in (MultiEpisodeWrapper(make(), 2), vector.MultiEpisodeWrapper(batch, 2)):
        env.reset()  # type: ignore[attr-defined]
        for _ in range(4):
            env.step(np.zeros(1, int) if env is not make else 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.MultiBinary(2)])
def test_numbers_that_are_no_box_pass(space: Any) -> None:
    batch = SyncVectorEnv([lambda: Shown(space)] * 2, autoreset_mode=AutoresetMode.DISABLED)
    env = vector.MultiEpisodeWrapper(batch, 2)
    env.reset()
    for _ in range(4):
        env.step(np.zeros(2, int))

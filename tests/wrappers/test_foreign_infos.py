"""Infos of an environment's own under names that MultiEpisodeWrapper and Gymnasium use."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from reference_models import small_model
from wrapper_stubs import ScriptedEnv, actions_for

from ldm_wrappers import (
    BeliefObservationWrapper,
    BeliefPool,
    ImaginaryRewardWrapper,
    MultiEpisodeWrapper,
    RL2ObservationWrapper,
    TrajectoryBuffer,
    vector,
)
from ldm_wrappers.sb3 import VectorEnvAdapter
from ldm_wrappers.vector.infos import merge_rows

OWN: dict[str, Any] = {
    "episode_start": 1699.5,
    "episode_index": 77,
    "next_obs": np.full(4, 9.0, np.float32),
    "episode_returns": np.full(3, 5.0),
    "episode_lengths": "long",
    "cut_short": 0.5,
    "environment_reward": -3.0,
}
END = {"final_obs": np.full(4, 8.0, np.float32), "final_info": {"x": 1}}


class Talkative(gym.Wrapper[Any, Any, Any, Any]):
    """Adds infos of its own to every reset and step."""

    def __init__(self, env: gym.Env[Any, Any], own: dict[str, Any]) -> None:
        super().__init__(env)
        self.own = own

    def reset(self, **kwargs: Any) -> Any:
        observation, info = self.env.reset(**kwargs)
        return observation, {**info, **self.own}

    def step(self, action: Any) -> Any:
        *result, info = self.env.step(action)
        return (*result, {**info, **self.own})


def scalar(own: dict[str, Any], episodes: int | None) -> gym.Env[Any, Any]:
    env: Any = Talkative(ScriptedEnv((2, 3)), own)
    return env if episodes is None else MultiEpisodeWrapper(env, episodes)


def batch(own: dict[str, Any], episodes: int | None, inside: bool = False) -> Any:
    make = [lambda: scalar(own, episodes if inside else None)] * 3
    whole = episodes is not None and not inside
    mode = AutoresetMode.DISABLED if whole else AutoresetMode.SAME_STEP
    env: Any = SyncVectorEnv(make, autoreset_mode=mode)
    return vector.MultiEpisodeWrapper(env, episodes) if whole else env


def wrap(name: str, env: Any, is_vector: bool) -> tuple[Any, Any]:
    model = small_model(env)
    buffer = TrajectoryBuffer(model.spec, capacity=20, max_length=10)
    if name == "RL²":
        made: Any = vector.RL2ObservationWrapper if is_vector else RL2ObservationWrapper
        return made(env), None
    if name == "belief":
        made = vector.BeliefObservationWrapper if is_vector else BeliefObservationWrapper
        return made(env, model, buffer=buffer), buffer
    if is_vector:
        imaginary: Any = vector.ImaginaryRewardWrapper(
            env, model, n_mixture=1, buffer=buffer, seed=0
        )
        return imaginary, buffer
    pool = BeliefPool(2, 3)
    for index in range(2):
        pool.publish(index, np.zeros(3, np.float32))
    return ImaginaryRewardWrapper(env, model, pool, seed=0), None


def results(env: Any, buffer: Any, is_vector: bool) -> list[Any]:
    """All that a learner sees of 20 steps."""
    seen = [env.reset(seed=0)[0]]
    for action in actions_for(env, 20):
        *step, infos = env.step(action)
        seen += step
        if is_vector:
            seen += [infos["final_obs"][i] for i in np.flatnonzero(step[2] | step[3])]
        elif step[2] or step[3]:
            seen.append(env.reset()[0])
    if buffer is not None:
        seen += list(buffer.get(np.arange(len(buffer))))
    return seen


@pytest.mark.parametrize("name", ["RL²", "belief", "imaginary"])
@pytest.mark.parametrize("episodes", [None, 2])
@pytest.mark.parametrize("where", ["scalar", "vector", "scalar in a vector"])
def test_own_infos_change_nothing(name: str, episodes: int | None, where: str) -> None:
    is_vector = where != "scalar"
    outcomes = []
    for own in ({}, OWN):
        if is_vector:
            env = batch(own, episodes, inside=where == "scalar in a vector")
        else:
            env = scalar(own, episodes)
        outcomes.append(results(*wrap(name, env, is_vector), is_vector))
    for one, other in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("key", list(OWN)[:-1])
@pytest.mark.parametrize("is_vector", [False, True])
def test_both_are_kept_apart(key: str, is_vector: bool) -> None:
    own = {key: OWN[key]}
    env: Any = batch(own, 2) if is_vector else scalar(own, 2)
    _, info = env.reset(seed=0)
    assert "environment_" + key in info
    for _ in range(9):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        kept = info["environment_" + key]
        np.testing.assert_array_equal(kept[0] if is_vector else kept, OWN[key])
        if key in info:
            ours = info[key][0] if is_vector else info[key]
            assert not np.array_equal(ours, OWN[key])
        if not is_vector and (terminated or truncated):
            env.reset()


@pytest.mark.parametrize("key", list(END))
def test_ends_are_kept_apart_inside_a_meta_episode(key: str) -> None:
    plain, env = batch({}, 2), batch({key: END[key]}, 2)
    plain.reset(seed=0), env.reset(seed=0)
    for actions in actions_for(plain, 12):
        *_, infos = env.step(actions)
        *_, expected = plain.step(actions)
        assert (key in infos) == (key in expected)
        if "final_obs" in expected:
            for mine, other in zip(infos["final_obs"], expected["final_obs"], strict=True):
                np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("key", list(END))
def test_ends_of_their_own_are_refused_where_they_hide_gymnasiums(key: str) -> None:
    env = batch({key: END[key]}, None)
    model = small_model(env)
    for wrapped in (
        vector.RL2ObservationWrapper(env),
        vector.BeliefObservationWrapper(env, model),
        vector.ImaginaryRewardWrapper(env, model, n_mixture=1),
        VectorEnvAdapter(env),
    ):
        with pytest.raises(ValueError, match=f"own info '{key}'.*rename"):
            wrapped.reset()


def test_meta_episodes_inside_each_environment_have_true_next_states() -> None:
    """As if the wrapper were around the batch: the same trajectories in the buffer."""
    stored = []
    for inside in (False, True):
        env, buffer = wrap("belief", batch({}, 2, inside=inside), True)
        env.reset(seed=list(range(3)))
        for actions in actions_for(env, 20):
            env.step(actions)
        stored.append(buffer.get(np.arange(len(buffer))))
    for one, other in zip(*stored, strict=True):
        np.testing.assert_array_equal(one, other)


class Remarking(gym.Wrapper[Any, Any, Any, Any]):
    """Every step remarks on something, a reset only if the environment is ``eager``."""

    def __init__(self, env: gym.Env[Any, Any], eager: bool) -> None:
        super().__init__(env)
        self.eager = eager

    def reset(self, **kwargs: Any) -> Any:
        observation, info = self.env.reset(**kwargs)
        return observation, {**info, **({"x": -1.0, "of": {"y": -1.0}} if self.eager else {})}

    def step(self, action: Any) -> Any:
        *result, info = self.env.step(action)
        return (*result, {**info, "x": 1.0, "of": {"y": 2.0}})


def test_a_restart_keeps_what_only_the_step_has_told() -> None:
    """Whatever the resets of others tell: as around each single environment."""
    makers = [lambda eager=eager: Remarking(ScriptedEnv((2,)), eager) for eager in (False, True)]
    batch = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
    env = vector.MultiEpisodeWrapper(batch, 2)
    singles = [MultiEpisodeWrapper(make(), 2) for make in makers]
    for one in (env, *singles):
        one.reset(seed=0)
    for _ in range(2):
        infos = env.step(np.zeros(2, np.int64))[-1]
        told = [single.step(0)[-1] for single in singles]
    assert infos["episode_start"].all()
    assert infos["x"].tolist() == [info["x"] for info in told] == [1.0, -1.0]
    assert infos["of"]["y"].tolist() == [info["of"]["y"] for info in told] == [2.0, -1.0]
    assert infos["_x"].all() and infos["_of"].all() and infos["of"]["_y"].all()


def test_infos_without_masks_that_only_a_reset_tells_are_of_the_rows_that_were_reset() -> None:
    """The other rows hold 0, which nobody has told: ``VectorEnvAdapter`` leaves it out."""
    rows = np.array([True, False])
    merged = merge_rows({"x": np.ones(2)}, {"level": np.array([3, 4]), "x": np.full(2, 5.0)}, rows)
    assert merged["level"].tolist() == [3, 0] and merged["_level"].tolist() == [True, False]
    assert merged["x"].tolist() == [5.0, 1.0] and "_x" not in merged

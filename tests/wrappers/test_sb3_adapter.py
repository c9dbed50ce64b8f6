"""The adapter behaves as SB3's DummyVecEnv around the same environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize
from wrapper_stubs import ScriptedEnv, actions_for, scripted_vector

import ldm_envs  # noqa: F401
from ldm_wrappers import MultiEpisodeWrapper, RL2ObservationWrapper, vector
from ldm_wrappers.sb3 import VectorEnvAdapter

LENGTHS = [(3, 5, 2), (4,), (1, 2)]


def pair(family: str, n_episodes: int = 2, **kwargs: Any) -> tuple[Any, Any]:
    """The adapter around the vector chain, and SB3's own around the scalar chain."""

    def chain(make: Callable[[], gym.Env[Any, Any]]) -> Callable[[], gym.Env[Any, Any]]:
        return lambda: RL2ObservationWrapper(MultiEpisodeWrapper(make(), n_episodes))

    if family == "GridNavi":
        vec: Any = gym.make_vec(
            "LDM-GridNavi-v0", 3, max_episode_steps=4, autoreset_mode=AutoresetMode.DISABLED
        )
        makers = [lambda: gym.make("LDM-GridNavi-v0", max_episode_steps=4)] * 3
    else:
        vec = scripted_vector(*LENGTHS, action=family)
        makers = [lambda one=one: ScriptedEnv(one, action=family) for one in LENGTHS]  # type: ignore[misc]
    env = vector.RL2ObservationWrapper(vector.MultiEpisodeWrapper(vec, n_episodes))
    return VectorEnvAdapter(env, **kwargs), DummyVecEnv([chain(make) for make in makers])


def actions(env: Any, n_steps: int) -> list[Any]:
    env.action_space.seed(0)
    return [np.stack([env.action_space.sample() for _ in range(3)]) for _ in range(n_steps)]


@pytest.mark.parametrize("family", ["GridNavi", "discrete", "box"])
def test_it_steps_as_dummy_vec_env(family: str) -> None:
    ours, theirs = pair(family, n_episodes=3)  # the last one ends by truncation or termination
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    theirs._seeds = list(ours.seed(11))  # stable-baselines3's own are seed + i
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    keys = {"task", "next_obs", "episode_start", "episode_index"}
    for mine, other in zip(ours.reset_infos, theirs.reset_infos, strict=True):
        np.testing.assert_equal(mine, other)
    n_ends = n_truncated = 0
    for one in actions(ours, 40):
        observations, rewards, dones, infos = ours.step(one)
        expected = theirs.step(one)
        np.testing.assert_array_equal(observations, expected[0])
        np.testing.assert_allclose(rewards, expected[1], rtol=1e-6)
        assert rewards.dtype == np.float32 and dones.dtype == np.bool_
        np.testing.assert_array_equal(dones, expected[2])
        for mine, other in zip(ours.reset_infos, theirs.reset_infos, strict=True):
            np.testing.assert_equal(mine, other)
        for done, mine, other in zip(dones, infos, expected[3], strict=True):
            for key in keys:
                np.testing.assert_array_equal(mine[key], other[key])
            assert ("terminal_observation" in mine) == done
            if done:
                n_ends += 1
                n_truncated += other["TimeLimit.truncated"]
                assert set(other) == set(mine)
                for key in other:
                    np.testing.assert_array_equal(mine[key], other[key])
                assert mine["TimeLimit.truncated"] is other["TimeLimit.truncated"]
    assert n_ends >= 6 and n_truncated >= 1, (n_ends, n_truncated)
    if family != "GridNavi":
        assert n_truncated < n_ends


class EndsTwice(ScriptedEnv):
    """Terminates with the step that its time limit falls on."""

    def step(self, action: Any) -> Any:
        observation, reward, _, _, info = super().step(action)
        return observation, reward, self.t == 2, self.t == 2, info


def test_an_end_that_is_a_time_limit_too_is_no_time_limit_to_bootstrap_from() -> None:
    vec = gym.vector.SyncVectorEnv([EndsTwice], autoreset_mode=AutoresetMode.DISABLED)
    ours = VectorEnvAdapter(vector.MultiEpisodeWrapper(vec, 2))
    theirs = DummyVecEnv([lambda: MultiEpisodeWrapper(EndsTwice(), 2)])
    ours.reset(), theirs.reset()
    for _ in range(4):
        found, expected = (env.step(np.array([1]))[3][0] for env in (ours, theirs))
    assert found["TimeLimit.truncated"] is expected["TimeLimit.truncated"] is False


def test_seeds_and_options_reach_the_environment_once() -> None:
    ours, theirs = pair("GridNavi")
    theirs._seeds = list(ours.seed(3))
    for env in (ours, theirs):
        env.set_options({"task": np.array([6.0, 2.0])})
    ours.reset(), theirs.reset()
    for env in (ours, theirs):
        assert [info["task"].tolist() for info in env.reset_infos] == [[6.0, 2.0]] * 3
        env.reset()
        env.reset()  # once more: a seed is used for one reset only
    tasks = [[info["task"].tolist() for info in env.reset_infos] for env in (ours, theirs)]
    assert tasks[0] == tasks[1] != [[6.0, 2.0]] * 3
    ours.set_options([{"task": np.array([6.0, 2.0])}, {}, {}])
    with pytest.raises(ValueError, match="one options dict"):
        ours.reset()
    goals = [np.array([6.0, 2.0]), np.array([2.0, 6.0])]
    ours.set_options([{"task": goals[0]}, {"task": goals[0]}, {"task": goals[1]}])
    with pytest.raises(ValueError, match="one options dict"):
        ours.reset()
    ours.set_options([{"task": goals[0].copy()} for _ in range(3)])
    ours.reset()
    assert [info["task"].tolist() for info in ours.reset_infos] == [[6.0, 2.0]] * 3


def test_info_keys_choose_what_every_step_says() -> None:
    ours, _ = pair("GridNavi", info_keys=())
    ours.reset()
    few, _ = pair("GridNavi", info_keys=("task", "missing"))
    few.reset()
    for one in actions(ours, 8):
        dones, infos = ours.step(one)[2:]
        some = few.step(one)[3]
        for done, info, tasks in zip(dones, infos, some, strict=True):
            assert bool(info) == done
            if done:
                assert info["episode_returns"].shape == (2,)
            else:
                assert set(tasks) == {"task"}
    assert ours.reset_infos == [{}, {}, {}]


def test_one_name_in_place_of_several_is_refused() -> None:
    """Its letters are names that no environment reports, so every info would be empty."""
    env = gym.make_vec("LDM-GridNavi-v0", num_envs=2, autoreset_mode="SameStep")
    with pytest.raises(TypeError, match=r"several names, \['task'\], got 'task'"):
        VectorEnvAdapter(env, info_keys="task")
    adapter = VectorEnvAdapter(env, info_keys=["task"])
    adapter.reset()
    assert [info.keys() for info in adapter.reset_infos] == [{"task"}] * 2


class Rarely(ScriptedEnv):
    """Tells something at the second step of an episode only."""

    def step(self, action: Any) -> Any:
        *result, info = super().step(action)
        return *result, {**info, "second": True} if self.t == 2 else info


def test_a_worker_has_only_the_infos_that_it_told() -> None:
    lengths = (3, 4)
    batch = SyncVectorEnv(
        [lambda n=n: Rarely((n,)) for n in lengths], autoreset_mode=AutoresetMode.SAME_STEP
    )
    env = VectorEnvAdapter(batch)
    env.reset()
    for step in range(12):
        infos = env.step(np.ones(2, np.int64))[3]
        told = ["second" in info for info in infos]
        assert told == [step % length == 1 for length in lengths]


class Levels(gym.Wrapper[Any, Any, Any, Any]):
    """Reports its level at resets only."""

    level = 0

    def reset(self, **kwargs: Any) -> Any:
        observation, info = self.env.reset(**kwargs)
        self.level += 1
        return observation, {**info, "level": self.level}


@pytest.mark.parametrize("n_episodes", [None, 2])
def test_the_end_of_an_episode_does_not_tell_the_level_of_the_next(n_episodes: int | None) -> None:
    """As in DummyVecEnv; VecMonitor(info_keywords=("level",)) would take it for the old one's."""
    makers = [lambda n=n: Levels(ScriptedEnv((n,))) for n in (2, 3)]
    if n_episodes is None:
        batch: Any = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)  # type: ignore[arg-type]
    else:
        batch = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)  # type: ignore[arg-type]
        batch = vector.MultiEpisodeWrapper(batch, n_episodes)
        makers = [lambda m=m: MultiEpisodeWrapper(m(), n_episodes) for m in makers]  # type: ignore[misc]
    ours, theirs = VectorEnvAdapter(batch), DummyVecEnv(makers)  # type: ignore[arg-type]
    ours.reset(), theirs.reset()
    n_ends = 0
    for _ in range(13):
        infos, expected = (env.step(np.ones(2, np.int64))[3] for env in (ours, theirs))
        for mine, other in zip(infos, expected, strict=True):
            assert mine.get("level") == other.get("level")
            n_ends += "terminal_observation" in mine
        levels = [[info["level"] for info in env.reset_infos] for env in (ours, theirs)]
        assert levels[0] == levels[1]
    assert n_ends >= 5


@pytest.mark.parametrize("family", ["GridNavi", "box"])
def test_vec_normalize_and_vec_monitor_compose(family: str) -> None:
    chains = [VecNormalize(VecMonitor(env), gamma=0.9) for env in pair(family)]
    chains[1].unwrapped._seeds = list(chains[0].seed(1))
    np.testing.assert_allclose(chains[0].reset(), chains[1].reset(), atol=1e-6)
    episodes = 0
    for one in actions(chains[0], 30):
        mine, other = (env.step(one) for env in chains)
        np.testing.assert_allclose(mine[0], other[0], atol=1e-5)
        np.testing.assert_allclose(mine[1], other[1], atol=1e-5)
        for info, expected in zip(mine[3], other[3], strict=True):
            assert ("episode" in info) == ("episode" in expected)
            if "episode" in info:
                episodes += 1
                assert info["episode"]["l"] == expected["episode"]["l"]
                assert info["episode"]["r"] == pytest.approx(expected["episode"]["r"], abs=1e-4)
                np.testing.assert_allclose(
                    info["terminal_observation"], expected["terminal_observation"], atol=1e-5
                )
    assert episodes >= 6
    np.testing.assert_allclose(chains[0].obs_rms.mean, chains[1].obs_rms.mean, atol=1e-6)
    assert chains[0].ret_rms.var == pytest.approx(chains[1].ret_rms.var, rel=1e-5)


def test_attributes_methods_and_wrappers() -> None:
    ours, _ = pair("GridNavi")
    assert ours.num_envs == 3
    assert ours.get_attr("n_episodes") == [2, 2, 2]
    assert ours.get_attr("n_episodes", indices=[1]) == [2]
    assert ours.env_is_wrapped(vector.MultiEpisodeWrapper) == [True] * 3
    assert ours.env_is_wrapped(vector.ImaginaryRewardWrapper, indices=0) == [False]
    before = ours.get_attr("finite_horizon")[0]
    ours.set_attr("finite_horizon", not before)
    assert ours.env.env.finite_horizon is not before  # the wrapper that has it
    ours.set_attr("note", 5)
    assert ours.env.note == 5
    with pytest.raises(ValueError, match="note is shared"):
        ours.set_attr("note", 6, indices=[0])
    ours.reset()
    state = ours.env_method("get_state", indices=[0, 2])
    assert len(state) == 2 and state[0]["episode"].shape == (3,)
    with pytest.raises(AttributeError):
        ours.get_attr("no_such_thing")
    ours.close()


@pytest.mark.parametrize("family", ["GridNavi", "discrete", "box"])
def test_spaces_and_generators_are_those_of_each_worker(family: str) -> None:
    ours, theirs = pair(family)
    theirs._seeds = list(ours.seed(5))
    ours.reset(), theirs.reset()
    for name in ("observation_space", "action_space", "np_random_seed"):
        assert ours.get_attr(name) == theirs.get_attr(name)
        assert ours.get_attr(name, indices=[2, 0]) == theirs.get_attr(name, indices=[2, 0])
    drawn = [[one.random() for one in env.get_attr("np_random")] for env in (ours, theirs)]
    assert drawn[0] == drawn[1]


def test_asking_for_what_is_not_there_leaves_processes_alive() -> None:
    batch = AsyncVectorEnv([ScriptedEnv] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    env = VectorEnvAdapter(batch)
    env.reset()
    assert not env.has_attr("no_such_thing")  # stable-baselines3's question
    with pytest.raises(AttributeError, match="no_such_thing"):
        env.env_method("no_such_thing")
    with pytest.raises(ValueError, match="no environment has 'note' yet"):
        env.set_attr("note", 1, indices=[0])
    env.set_attr("note", 2)
    env.set_attr("note", 3, indices=[0])
    assert env.get_attr("note") == [3, 2]
    assert len(env.step(np.zeros(2, np.int64))[1]) == 2
    env.close()


def test_rewards_are_the_learners_own() -> None:
    """SB3 adds bootstrapped values to them in place."""

    class Float32Rewards(gym.vector.VectorWrapper):
        kept: Any = None

        def step(self, actions: Any) -> Any:
            observations, rewards, *rest = self.env.step(actions)
            self.kept = rewards.astype(np.float32)
            return observations, self.kept, *rest

    inner = Float32Rewards(vector.MultiEpisodeWrapper(scripted_vector((3,)), 1))
    env = VectorEnvAdapter(inner)
    env.reset()
    env.step(np.zeros(1, np.int64))[1][:] = 99.0
    assert inner.kept[0] != 99.0


def test_images_are_one_frame_per_worker() -> None:
    base = scripted_vector((3,), (4,), render_mode="rgb_array")
    env = VectorEnvAdapter(vector.MultiEpisodeWrapper(base, 1))
    env.reset()
    images = env.get_images()
    assert len(images) == 2 and images[0].shape == (4, 4, 3)
    assert env.render_mode == "rgb_array"
    alike = DummyVecEnv([lambda: ScriptedEnv((3,), render_mode="rgb_array")])
    fps = [one["render_fps"] for one in alike.get_attr("metadata")]  # as VecVideoRecorder asks
    assert [env.metadata["render_fps"]] == fps == [1]


def test_other_autoreset_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="SAME_STEP, got DISABLED"):
        VectorEnvAdapter(scripted_vector((3,)))
    undeclared = scripted_vector((3,))
    undeclared.metadata = {}
    undeclared.autoreset_mode = None
    with pytest.raises(ValueError, match=r"autoreset_mode.*None"):
        VectorEnvAdapter(undeclared)


def test_it_runs_directly_on_gymnasiums_own_vector_environments() -> None:
    env = VectorEnvAdapter(
        gym.make_vec(
            "CartPole-v1",
            2,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        )
    )
    env.seed(0)
    env.reset()
    dones = [env.step(np.ones(2, np.int64))[2] for _ in range(30)]
    assert np.any(dones)
    assert actions_for(env.env, 1)

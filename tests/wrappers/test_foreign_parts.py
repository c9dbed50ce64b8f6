"""Parts of others around and inside ours that would spoil numbers without a word."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import (
    AsyncVectorEnv,
    AutoresetMode,
    SyncVectorEnv,
    VectorEnv,
    VectorWrapper,
)
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers import vector as theirs
from stable_baselines3.common.monitor import Monitor

import ldm_envs
from ldm_envs import TaskMethodWrapper
from ldm_envs.grid_navi import GridNaviVectorEnv
from ldm_wrappers import (
    ImaginaryRewardWrapper,
    LatentDynamics,
    LatentDynamicsConfig,
    PlausibleTasks,
    SavedBeliefs,
    vector,
)
from ldm_wrappers import MultiEpisodeWrapper as ScalarMultiEpisodeWrapper
from ldm_wrappers.sb3 import VectorEnvAdapter
from ldm_wrappers.vector import MultiEpisodeWrapper, RL2ObservationWrapper
from train.common.env_source import EnvSource
from train.common.guard import FiniteCheckWrapper

assert ldm_envs.__name__  # registers the ids
GRID = "LDM-GridNavi-v0"


def grid_batch(kind: Any, wrap: Any = lambda env: env) -> Any:
    makers = [lambda: wrap(gym.make(GRID))] * 3
    return kind(makers, autoreset_mode=AutoresetMode.DISABLED)


@pytest.mark.parametrize(
    "wrapper", [gym.wrappers.NormalizeObservation, gym.wrappers.NormalizeReward]
)
def test_statistics_of_single_environments_are_told(
    wrapper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(UserWarning, match=f"{wrapper.__name__} around a single environment"):
        MultiEpisodeWrapper(grid_batch(SyncVectorEnv, wrapper), 2)
    with pytest.warns(UserWarning, match=f"{wrapper.__name__} around a single environment"):
        ScalarMultiEpisodeWrapper(wrapper(gym.make(GRID)), 2)
    batch = grid_batch(AsyncVectorEnv, wrapper)
    with pytest.warns(UserWarning, match=r"worker processes\) around a single environment"):
        MultiEpisodeWrapper(batch, 2)
    batch.close()
    monkeypatch.setattr("train.common.env_source._find", lambda _: lambda: wrapper(gym.make(GRID)))
    with pytest.raises(ValueError, match=f"is wrapped with {wrapper.__name__}"):
        EnvSource("mine:make").make()


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_a_monitor_inside_a_batch_is_told(kind: Any) -> None:
    batch = grid_batch(kind, Monitor)
    with pytest.warns(UserWarning, match="Monitor inside MultiEpisodeWrapper"):
        MultiEpisodeWrapper(batch, 2)
    batch.close()


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv, "own"])
def test_options_of_a_reset_can_be_used_again(kind: Any) -> None:
    batch = gym.make_vec(GRID, 3, autoreset_mode="Disabled") if kind == "own" else grid_batch(kind)
    env = MultiEpisodeWrapper(batch, 2)
    env.reset(seed=0)
    options = {"reset_mask": np.array([True, False, False])}
    for count in (1, 2):
        env.step(np.full(3, 2))
        observations, _ = env.reset(options=options)
        assert list(options) == ["reset_mask"]
        assert observations[:, 0].tolist() == [0, count, count]
    env.close()


def test_actions_of_the_policy_stay_what_they_were() -> None:
    """Gymnasium's wrappers of actions change the array that they are given."""
    turned = np.array([4, 3, 2, 1, 0])
    batch = theirs.TransformAction(grid_batch(SyncVectorEnv), turned.__getitem__)
    each = theirs.VectorizeTransformAction(
        grid_batch(SyncVectorEnv),
        gym.wrappers.TransformAction,
        func=turned.__getitem__,
        action_space=spaces.Discrete(5),
    )
    for env in (batch, each):
        vec_env = VectorEnvAdapter(RL2ObservationWrapper(MultiEpisodeWrapper(env, 2)))
        vec_env.reset()
        actions = np.array([0, 1, 2])
        vec_env.step(actions)
        assert actions.tolist() == [0, 1, 2]
        vec_env.close()


class Counting(VectorEnv[Any, Any, Any]):
    """A batch of one's own; `obeys`: resets what the mask names, and nothing else."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}

    def __init__(self, obeys: bool) -> None:
        self.num_envs, self.obeys = 2, obeys
        self.single_observation_space: Any = spaces.Box(0, 99, (1,), np.float32)
        self.single_action_space: Any = spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, 2)
        self.action_space = batch_space(self.single_action_space, 2)
        self.counts = np.zeros((2, 1), np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        mask = (options or {}).get("reset_mask", np.ones(2, bool))
        self.counts[mask if self.obeys else slice(None)] = 0
        return self.counts.copy(), {}

    def step(self, actions: Any) -> Any:
        self.counts += 1
        over = self.counts[:, 0] >= [3, 5]
        return self.counts.copy(), np.ones(2), over, np.zeros(2, bool), {}


def test_a_batch_that_resets_what_it_was_not_asked_to_is_refused() -> None:
    for obeys in (True, False):
        env = MultiEpisodeWrapper(Counting(obeys), 2, check_tasks=False)
        env.reset()
        for _ in range(2):
            env.step(np.zeros(2, np.int64))
        if obeys:
            for _ in range(20):
                env.step(np.zeros(2, np.int64))
        else:
            with pytest.raises(ValueError, match=r"a reset of environments \[0\].*of \[1\] too"):
                env.step(np.zeros(2, np.int64))


class Reusing(gym.Env[Any, Any]):
    """Reports an array that its reset overwrites."""

    observation_space = spaces.Box(-9, 9, (1,), np.float32)
    action_space: Any = spaces.Discrete(2)

    def __init__(self) -> None:
        self.place = np.zeros(1, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place[:] = 0
        return self.place.copy(), {}

    def step(self, action: Any) -> Any:
        self.place += 1
        told = {
            "position": self.place,
            "deep": {"position": self.place, "path": [self.place, (self.place, "here")]},
        }
        return self.place.copy(), 0.0, bool(self.place[0] >= 3), False, told


def test_arrays_in_infos_of_a_last_step_are_of_that_step() -> None:
    env = ScalarMultiEpisodeWrapper(Reusing(), 2, check_tasks=False)
    env.reset()
    for _ in range(3):
        *_, info = env.step(0)
    assert info["episode_start"]
    assert (info["position"], info["deep"]["position"], info["next_obs"]) == (3, 3, 3)
    assert info["deep"]["path"] == [3, (3, "here")]


def test_infos_of_a_row_are_those_of_its_step() -> None:
    env = gym.vector.SyncVectorEnv([Reusing] * 2, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
    adapter = VectorEnvAdapter(env)
    adapter.reset()
    *_, rows = adapter.step(np.zeros(2, np.int64))
    adapter.step(np.zeros(2, np.int64))
    for row in rows:
        assert row["deep"]["position"] == 1
        assert row["deep"]["path"] == [1, (1, "here")]


def test_tasks_without_an_order_are_refused() -> None:
    class Named(Reusing):
        def set_task(self, task: Any) -> None:
            pass

    with pytest.raises(ValueError, match=r"split 'train' are a set\. .*sorted"):
        TaskMethodWrapper(Named(), {"train": {"push", "pull"}})  # type: ignore[dict-item]


def test_what_a_method_returns_is_changed_as_observations_are() -> None:
    class Reach(Reusing):
        def set_task(self, task: Any) -> Any:
            self.place[:] = task
            return self.place.copy()

        def step(self, action: Any) -> Any:
            return self.place.copy(), 0.0, False, False, {}

    half = gym.wrappers.TransformObservation(
        Reach(), lambda x: x / 2, spaces.Box(-9, 9, (1,), np.float32)
    )
    shifted = gym.wrappers.TransformObservation(
        half, lambda x: x + 1, spaces.Box(-9, 9, (1,), np.float32)
    )
    env = TaskMethodWrapper(shifted, {"train": [4.0, 6.0]}, after_reset=True)
    for seed in range(5):
        start, info = env.reset(seed=seed)
        assert start == info["task"] / 2 + 1
        np.testing.assert_array_equal(start, env.step(0)[0])


def test_a_second_seed_of_plausible_tasks_is_told() -> None:
    env = gym.make(GRID)
    config = LatentDynamicsConfig.grid()
    model = LatentDynamics(env.observation_space, env.action_space, config, seed=0)
    beliefs = SavedBeliefs(np.zeros((4, 3, config.latent_dim)))
    worker = ImaginaryRewardWrapper(env, model, beliefs, imagination=PlausibleTasks())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        worker.reset(seed=0)
        worker.step(2)
        worker.reset()
    with pytest.warns(UserWarning, match="forgets the transitions"):
        worker.reset(seed=1)


class Windy(GridNaviVectorEnv):
    def __init__(self, *args: Any, wind: float = 0.1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.wind = wind


class Copied(Windy):
    def _constructor_kwargs(self) -> dict[str, Any]:
        return {**super()._constructor_kwargs(), "wind": self.wind}


def test_copies_of_a_subclass_keep_its_arguments() -> None:
    for copied in (copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))):
        assert copied(Copied(2, wind=0.9)).wind == 0.9
        with pytest.raises(TypeError, match="the values of wind would be lost"):
            copied(Windy(2, wind=0.9))


class Flags(VectorWrapper):
    """Reports ends as numbers, as simulators on other devices do."""

    def __init__(self, env: Any, dtype: Any) -> None:
        super().__init__(env)
        self.dtype = dtype

    def step(self, actions: Any) -> Any:
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        ends = (np.asarray(flags).astype(self.dtype) for flags in (terminations, truncations))
        return observations, rewards, *ends, infos


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32])
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_ends_reported_as_numbers_are_ends(mode: AutoresetMode, dtype: Any) -> None:
    """The last observation of worker 2 was zeros where it ended alone: 1 was taken for a row."""

    def play(dtype: Any) -> list[Any]:
        makers = [lambda n=n: gym.make("CartPole-v1", max_episode_steps=n) for n in (4, 5, 3)]
        env: Any = Flags(SyncVectorEnv(makers, autoreset_mode=mode), dtype)
        if mode is AutoresetMode.DISABLED:
            env = MultiEpisodeWrapper(FiniteCheckWrapper(env), 2, check_tasks=False)
        model = LatentDynamics(env.single_observation_space, env.single_action_space)
        env = vector.ImaginaryRewardWrapper(env, model, n_mixture=1, seed=0)
        vec_env = VectorEnvAdapter(RL2ObservationWrapper(env))
        vec_env.seed(0)
        shown = [vec_env.reset()]
        for _ in range(12):
            observations, _, dones, infos = vec_env.step(np.ones(3, np.int64))
            ends = [info.get("terminal_observation") for info in infos]
            shown += [observations, dones, *(end for end in ends if end is not None)]
        return shown

    for found, expected in zip(play(dtype), play(bool), strict=True):
        np.testing.assert_array_equal(found, expected)

"""What stable-baselines3's users do with environments and policies, and what they are told."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers import TimeLimit
from reference_models import small_model
from stable_baselines3.common.callbacks import EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from wrapper_stubs import ScriptedEnv, scripted_vector

import ldm_envs  # noqa: F401
from ldm_wrappers import (
    BeliefPool,
    BeliefPublisherWrapper,
    ImaginaryRewardWrapper,
    MultiEpisodeWrapper,
    vector,
)
from ldm_wrappers.sb3 import (
    MixregRecurrentPPO,
    SequenceRecurrentPPO,
    VectorEnvAdapter,
    WholeSequenceLstmPolicy,
    imagine,
)
from ldm_wrappers.sb3.callbacks import SingleThreadedRollouts, warn_of_imaginary_statistics


def pendulums(kind: Any = SyncVectorEnv) -> tuple[VectorEnvAdapter, Any]:
    base = kind(
        [lambda: gym.make("Pendulum-v1", g=10.0)] * 3, autoreset_mode=AutoresetMode.DISABLED
    )
    meta = vector.MultiEpisodeWrapper(base, 2, check_tasks=False)
    return VectorEnvAdapter(vector.RL2ObservationWrapper(meta)), base


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_attributes_and_methods_reach_the_single_environments(kind: Any) -> None:
    vec_env, base = pendulums(kind)
    assert vec_env.get_attr("g") == [10.0] * 3
    vec_env.set_attr("g", 1.0, indices=[0, 2])
    assert vec_env.get_attr("g") == list(base.get_attr("g")) == [1.0, 10.0, 1.0]
    assert vec_env.get_attr("g", indices=1) == [10.0]
    assert vec_env.env_method("get_wrapper_attr", "l") == [1.0] * 3
    assert vec_env.get_attr("n_episodes") == [2] * 3  # of a vector wrapper, shared
    vec_env.set_attr("new_thing", 1)
    assert vec_env.get_attr("new_thing") == list(base.get_attr("new_thing")) == [1] * 3
    if kind is SyncVectorEnv:  # processes end when they are asked for what they do not have
        with pytest.raises(AttributeError):
            vec_env.get_attr("no_such_thing")
        assert vec_env.env_method("get_wrapper_attr", "g", indices=[1]) == [10.0]
        with pytest.raises(ValueError, match="no environment has 'newer' yet"):
            vec_env.set_attr("newer", 1, indices=[0])
        assert vec_env.env_is_wrapped(TimeLimit) == [True] * 3
        assert vec_env.env_is_wrapped(Monitor) == [False] * 3
    else:
        with pytest.raises(ValueError, match="indices must be None"):
            vec_env.env_method("get_wrapper_attr", "g", indices=[1])
    vec_env.close()


def test_a_batch_of_its_own_has_no_single_environments() -> None:
    batch = gym.make_vec("LDM-GridNavi-v0", 2, autoreset_mode=AutoresetMode.DISABLED)
    vec_env = VectorEnvAdapter(vector.MultiEpisodeWrapper(batch, 2))
    with pytest.raises(AttributeError, match="nor an environment inside it has 'nothing'"):
        vec_env.get_attr("nothing")
    vec_env.set_attr("something", 1)
    assert vec_env.env.something == 1 and vec_env.get_attr("something") == [1, 1]


def limited(limit: int) -> Any:
    return SyncVectorEnv(
        [lambda: TimeLimit(gym.make("Pendulum-v1"), limit)] * 4,
        autoreset_mode=AutoresetMode.DISABLED,
    )


LIMITS = (100, 400, 200, 200)


@pytest.mark.parametrize(
    ("make", "horizon"),
    [
        (lambda: gym.make_vec("LDM-GridNavi-v0", 4, autoreset_mode="Disabled"), 30),
        (
            lambda: gym.make_vec(
                "LDM-GridNavi-v0", 4, autoreset_mode="Disabled", max_episode_steps=12
            ),
            12,
        ),
        (lambda: limited(40), 40),
        (
            lambda: SyncVectorEnv(
                [lambda: gym.make("Pendulum-v1", max_episode_steps=400)] * 4,
                autoreset_mode=AutoresetMode.DISABLED,
            ),
            400,
        ),
        (
            lambda: SyncVectorEnv(
                [functools.partial(gym.make, "Pendulum-v1", max_episode_steps=n) for n in LIMITS],
                autoreset_mode=AutoresetMode.DISABLED,
            ),
            max(LIMITS),
        ),
    ],
)
def test_the_step_limit_is_the_one_that_environments_have(make: Any, horizon: int) -> None:
    env = vector.MultiEpisodeWrapper(make(), 2, stagger=True, check_tasks=False)
    expected = [2 * horizon * i // 4 for i in (1, 2, 3)]
    assert env._stagger.remaining.tolist() == [*expected, 0]
    if env.spec is not None:
        assert env.spec.max_episode_steps == 2 * horizon
    callback = imagine(make(), n_episodes=2, n_mixture=1, check_tasks=False)[1]
    assert callback.trainer.buffer.max_length == 2 * horizon


class Extractor(FlattenExtractor):
    """Has weights."""

    def __init__(self, observation_space: Any) -> None:
        super().__init__(observation_space)
        self.layer = torch.nn.Linear(self.features_dim, self.features_dim)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.layer(super().forward(observations))


def test_a_policy_with_two_extractors_is_loaded_with_two(tmp_path: Path) -> None:
    policy = WholeSequenceLstmPolicy(
        spaces.Box(-1.0, 1.0, (3,)),
        spaces.Discrete(4),
        lambda _: 1e-3,
        features_extractor_class=Extractor,
        share_features_extractor=False,
    )
    policy.save(str(tmp_path / "policy.pt"))
    loaded = WholeSequenceLstmPolicy.load(str(tmp_path / "policy.pt"))
    assert not loaded.share_features_extractor
    weights = loaded.state_dict()
    for name, value in policy.state_dict().items():
        assert torch.equal(weights[name], value), name
    assert not torch.equal(
        weights["pi_features_extractor.layer.weight"],
        weights["vf_features_extractor.layer.weight"],
    )


def test_statistics_of_imaginary_returns_are_noticed_in_other_chains() -> None:
    def single(kind: str) -> Any:
        env = ScriptedEnv((3,))
        if kind == "normal":
            return BeliefPublisherWrapper(env, model, pool, 0)
        return ImaginaryRewardWrapper(env, model, pool, seed=0)

    model = small_model(ScriptedEnv((3,)))
    pool = BeliefPool(1, model.config.latent_dim)
    workers = DummyVecEnv([lambda: single("normal"), lambda: single("imaginary")])
    with pytest.warns(UserWarning, match="VecNormalize divides real rewards .* n_normal=1"):
        warn_of_imaginary_statistics(VecNormalize(workers))
    meta = vector.MultiEpisodeWrapper(scripted_vector((3,), (3,)), 1)
    imaginary = vector.ImaginaryRewardWrapper(meta, model, n_mixture=1, seed=0)
    scaled = gym.wrappers.vector.NormalizeReward(imaginary)
    with pytest.warns(UserWarning, match="NormalizeReward divides real rewards"):
        warn_of_imaginary_statistics(VectorEnvAdapter(scaled))


def test_a_monitor_inside_meta_episodes_is_told_of() -> None:
    with pytest.warns(UserWarning, match="Monitor inside MultiEpisodeWrapper"):
        make_vec_env(
            "LDM-GridNavi-v0", wrapper_class=MultiEpisodeWrapper, wrapper_kwargs={"n_episodes": 2}
        )


def agent(kind: Any = SequenceRecurrentPPO, action: str = "discrete", **kwargs: Any) -> Any:
    env = vector.MultiEpisodeWrapper(scripted_vector((3,), (3,), action=action), 1)
    vec_env = VectorEnvAdapter(vector.RL2ObservationWrapper(env))
    sizes = {"n_steps": 6, "batch_size": None, "n_epochs": 1, "device": "cpu"}
    return kind(WholeSequenceLstmPolicy, vec_env, **{**sizes, **kwargs})


def test_a_callback_that_is_told_of_steps_only_refuses() -> None:
    with pytest.raises(RuntimeError, match="pass it to learn\\(\\) directly"):
        agent().learn(24, callback=EveryNTimesteps(2, SingleThreadedRollouts()))


def test_squashed_actions_are_refused() -> None:
    with pytest.raises(ValueError, match="squash_output=True is not supported"):
        agent(action="box", use_sde=True, policy_kwargs={"squash_output": True})


def test_another_number_of_environments_says_how_to_load(tmp_path: Path) -> None:
    agent(batch_size=12).save(tmp_path / "agent.zip")
    one = VectorEnvAdapter(
        vector.RL2ObservationWrapper(vector.MultiEpisodeWrapper(scripted_vector((3,)), 1))
    )
    with pytest.raises(ValueError, match="batch_size=None"):
        SequenceRecurrentPPO.load(tmp_path / "agent.zip", env=one)
    loaded = SequenceRecurrentPPO.load(tmp_path / "agent.zip", env=one, batch_size=None)
    loaded.learn(6)


class Spaces(gym.Env[Any, Any]):
    """Any spaces; ends after three steps."""

    def __init__(self, observations: Any, actions: Any) -> None:
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        self.observation_space.seed(0)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.t += 1
        return self.observation_space.sample(), 1.0, False, self.t == 3, {}


@pytest.mark.parametrize("n_epochs", [1, 2])
@pytest.mark.parametrize(
    "actions", [spaces.MultiBinary(2), spaces.MultiDiscrete([2, 3]), spaces.Discrete(3)]
)
def test_mixreg_trains_on_every_kind_of_discrete_action(actions: Any, n_epochs: int) -> None:
    env = DummyVecEnv([lambda: Spaces(spaces.Box(-1.0, 1.0, (2,)), actions)] * 2)
    sizes: dict[str, Any] = {"n_steps": 6, "batch_size": None, "device": "cpu"}
    MixregRecurrentPPO(WholeSequenceLstmPolicy, env, n_epochs=n_epochs, **sizes).learn(24)


def test_discrete_observations_are_stored() -> None:
    env = DummyVecEnv([lambda: Spaces(spaces.Discrete(5), spaces.Discrete(2))] * 2)
    ppo = SequenceRecurrentPPO(
        WholeSequenceLstmPolicy, env, n_steps=6, batch_size=None, device="cpu"
    )
    ppo.learn(12)
    stored = ppo.rollout_buffer.observations
    assert stored.shape == (6, 2, 1) and set(np.unique(stored)) <= set(range(5))


class Walk(gym.Env[Any, Any]):
    """Whole numbers that grow by one per step."""

    observation_space = spaces.Box(0, 99, (2,), np.int64)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.array([0, 1]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.array([self.steps, 1]), 0.0, False, False, {}


def test_normalised_whole_numbers_are_learned_from_as_they_were_acted_on() -> None:
    batch = SyncVectorEnv([Walk] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    vec_env = VecNormalize(VectorEnvAdapter(batch), norm_reward=False)
    agent = SequenceRecurrentPPO(
        WholeSequenceLstmPolicy, vec_env, n_steps=6, batch_size=None, n_epochs=1, seed=0
    )
    seen = []
    forward = agent.policy.forward

    def spy(obs: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(obs.numpy().copy())
        return forward(obs, *args, **kwargs)

    agent.policy.forward = spy  # type: ignore[method-assign]
    agent.learn(24)
    stored = agent.rollout_buffer.observations
    assert np.abs(stored - np.rint(stored)).max() > 0.01
    np.testing.assert_allclose(stored, np.stack(seen[-6:]), rtol=1e-6)


class OneArray(VectorEnv[Any, Any, Any]):
    """Counts its steps in the array that it hands out."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self) -> None:
        self.num_envs = 2
        self.single_observation_space = spaces.Box(0, 1e6, (1,))
        self.single_action_space = spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, 2)
        self.action_space = batch_space(self.single_action_space, 2)
        self.counts = np.zeros((2, 1), np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.counts[:] = 0.0
        return self.counts, {"counts": self.counts, "deep": {"counts": self.counts}}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.counts += 1.0
        no = np.zeros(2, bool)
        infos = {"counts": self.counts, "deep": {"counts": self.counts}}
        return self.counts, np.zeros(2), no, no, infos


def test_an_array_that_a_batch_writes_into_again_is_learned_from_as_it_was() -> None:
    agent = SequenceRecurrentPPO(
        WholeSequenceLstmPolicy, VectorEnvAdapter(OneArray()), n_steps=5, batch_size=None
    )
    agent.learn(10)
    assert agent.rollout_buffer.observations[:, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_infos_that_a_batch_writes_into_again_stay_those_of_their_step() -> None:
    env = VectorEnvAdapter(OneArray())
    env.reset()
    told = [env.step(np.zeros(2, np.int64))[3] for _ in range(3)]
    for infos, count in zip([env.reset_infos, *told], range(4), strict=True):
        assert all(info == {"counts": [count], "deep": {"counts": [count]}} for info in infos)


@pytest.mark.parametrize(
    ("kind", "space"),
    [
        (MixregRecurrentPPO, spaces.Discrete(5)),
        (MixregRecurrentPPO, spaces.MultiDiscrete([5, 2])),
        (SequenceRecurrentPPO, spaces.MultiDiscrete([5, 2])),
    ],
)
def test_observations_that_cannot_be_used_are_refused_with_a_way_out(kind: Any, space: Any) -> None:
    class Categories(Walk):
        observation_space = space

    batch = SyncVectorEnv([Categories] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(TypeError, match="FlattenObservation"):
        kind(WholeSequenceLstmPolicy, VectorEnvAdapter(batch), n_steps=4, batch_size=None)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(5, start=2),
        spaces.MultiDiscrete([3, 2], start=[0, 1]),
        spaces.Dict({"x": spaces.Box(0, 1), "y": spaces.Discrete(3, start=-1)}),
    ],
)
def test_categories_that_do_not_begin_at_zero_are_refused_at_once(space: Any) -> None:
    class Categories(Walk):
        observation_space = space

    def batch(wrap: Any) -> Any:
        make = [lambda: wrap(Categories())] * 2
        return SyncVectorEnv(make, autoreset_mode=AutoresetMode.SAME_STEP)

    with pytest.raises(ValueError, match=r"from 0, got (Multi)?Discrete.*FlattenObservation"):
        VectorEnvAdapter(batch(lambda env: env))
    VectorEnvAdapter(batch(gym.wrappers.FlattenObservation))  # as the message says


def test_what_is_no_vector_environment_is_refused() -> None:
    single: Any = gym.make("Pendulum-v1")
    for env in (single, DummyVecEnv([lambda: gym.make("Pendulum-v1")])):
        with pytest.raises(TypeError, match=r"needs a gymnasium.vector.VectorEnv, got .*DummyVec"):
            VectorEnvAdapter(env)


def test_a_row_of_tasks_for_each_worker_is_one_options_dict() -> None:
    """As the message says that refuses a list of dicts."""
    batch = gym.make_vec("LDM-GridNavi-v0", num_envs=2, autoreset_mode=AutoresetMode.DISABLED)
    env = VectorEnvAdapter(vector.MultiEpisodeWrapper(batch, 2))
    tasks = np.array([[2.0, 1.0], [6.0, 2.0]])
    env.set_options([{"task": task} for task in tasks])
    with pytest.raises(ValueError, match=r"set_options\({'task': tasks}\) with a row"):
        env.reset()
    env.set_options({"task": tasks})
    env.reset()
    assert [info["task"].tolist() for info in env.reset_infos] == tasks.tolist()

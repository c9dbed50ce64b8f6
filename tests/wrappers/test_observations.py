"""RL² and belief observations: contents by hand, bounds, vector against scalar."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from reference_models import NumpyModel, small_model
from wrapper_stubs import PlainWorker, ScriptedEnv, actions_for, scripted_vector, seeds_of

import ldm_envs  # noqa: F401
from ldm_wrappers import (
    BeliefObservationWrapper,
    BeliefPool,
    BeliefPublisherWrapper,
    ExpectedReward,
    ImaginaryRewardWrapper,
    MultiEpisodeWrapper,
    RL2ObservationWrapper,
    SavedBeliefs,
    vector,
)

LENGTHS = [(3, 5, 2), (4,), (1, 2)]


@pytest.mark.parametrize(("kind", "start"), [("discrete", 0), ("discrete", 4), ("box", 0)])
def test_rl2_observations_by_hand(kind: str, start: int) -> None:
    inner = ScriptedEnv((2, 3), action=kind, start=start)
    env = RL2ObservationWrapper(MultiEpisodeWrapper(inner, 2))
    space = env.observation_space
    observation, _ = env.reset(seed=0)
    size = 2 if kind == "box" else 3
    np.testing.assert_array_equal(observation[4:], [0.0] * size + [0.0, 1.0])
    for step, action in enumerate(actions_for(env, 5)):
        observation, reward, *_ = env.step(action)
        encoded = action if kind == "box" else np.eye(3)[action - start]
        start_flag = float(step == 1)  # the inner episodes last 2 and 3 steps
        expected = np.concatenate([observation[:4], encoded, [reward, start_flag]])
        np.testing.assert_array_equal(observation, expected.astype(np.float32))
        assert observation.dtype == np.float32 and observation in space
        assert observation[2] == [1, 0, 1, 2, 3][step]
    assert space.shape == (4 + size + 2,)


@pytest.mark.parametrize("family", ["GridNavi", "discrete", "box"])
@pytest.mark.parametrize("wrapper", ["RL²", "belief"])
def test_vector_equals_scalar(family: str, wrapper: str) -> None:
    if family == "GridNavi":
        vec: Any = gym.make_vec(
            "LDM-GridNavi-v0", 3, max_episode_steps=4, autoreset_mode=AutoresetMode.DISABLED
        )
        plain = [gym.make("LDM-GridNavi-v0", max_episode_steps=4) for _ in range(3)]
    else:
        vec = scripted_vector(*LENGTHS, action=family)
        plain = [ScriptedEnv(one, action=family) for one in LENGTHS]
    meta = vector.MultiEpisodeWrapper(vec, 2)
    metas = [MultiEpisodeWrapper(one, 2) for one in plain]
    if wrapper == "RL²":
        env: Any = vector.RL2ObservationWrapper(meta)
        singles: list[Any] = [RL2ObservationWrapper(one) for one in metas]
    else:
        model = small_model(meta)
        env = vector.BeliefObservationWrapper(meta, model)
        singles = [BeliefObservationWrapper(one, model) for one in metas]
    assert env.single_observation_space == singles[0].observation_space
    observations, _ = env.reset(seed=3)
    seeds = seeds_of(3, len(singles))
    for i, single in enumerate(singles):
        np.testing.assert_allclose(observations[i], single.reset(seed=seeds[i])[0], atol=1e-6)
    n_ends = 0
    for actions in actions_for(env, 40):
        observations, rewards, _, _, infos = env.step(actions)
        assert observations.dtype == np.float32 and observations in env.observation_space
        for i, single in enumerate(singles):
            observation, reward, terminated, truncated, _ = single.step(actions[i])
            assert reward == rewards[i]
            if terminated or truncated:
                n_ends += 1
                np.testing.assert_allclose(infos["final_obs"][i], observation, atol=1e-6)
                observation, _ = single.reset()
            np.testing.assert_allclose(observations[i], observation, atol=1e-6)
    assert n_ends >= 6


def test_belief_observations_match_numpy() -> None:
    env = BeliefObservationWrapper(
        MultiEpisodeWrapper(ScriptedEnv((2, 3)), 2), small_model(ScriptedEnv())
    )
    plain = NumpyModel(env.latent_dynamics)
    worker = PlainWorker(ScriptedEnv((2, 3)), 2, 0)
    observation, _ = env.reset(seed=0)
    for action in actions_for(env, 4):
        expected = np.concatenate([worker.state, *plain.belief(worker.running)])
        np.testing.assert_allclose(observation, expected, atol=1e-6)
        observation = env.step(action)[0]
        worker.step(action)
    assert observation.shape == (4 + 3 + 3,)


def test_without_inner_episodes_the_flag_marks_new_episodes() -> None:
    makers = [lambda one=one: ScriptedEnv(one) for one in LENGTHS]
    base = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    env = vector.RL2ObservationWrapper(base)
    env.reset(seed=0)
    for actions in actions_for(env, 12):
        observations, _, terminations, truncations, infos = env.step(actions)
        ended = terminations | truncations
        np.testing.assert_array_equal(observations[:, -1], ended)
        np.testing.assert_array_equal(observations[ended, 4:-1], 0.0)
        for index in np.flatnonzero(ended):
            final = infos["final_obs"][index]
            np.testing.assert_array_equal(final[4:7], np.eye(3)[actions[index]])
            assert final[-1] == 0.0


def test_a_batch_may_have_inner_episodes_in_some_environments_only() -> None:
    """Where there are none, the flag marks the start of a new episode."""
    makers = [lambda: MultiEpisodeWrapper(ScriptedEnv((2,)), 3), lambda: ScriptedEnv((3,))]
    base = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    env = vector.RL2ObservationWrapper(base)
    env.reset(seed=0)
    flags = np.array([env.step([1, 1])[0][:, -1] for _ in range(12)])
    assert (np.flatnonzero(flags[:, 0]) + 1).tolist() == [2, 4, 6, 8, 10, 12]
    assert (np.flatnonzero(flags[:, 1]) + 1).tolist() == [3, 6, 9, 12]


def test_bounds_follow_the_environment() -> None:
    space = RL2ObservationWrapper(gym.make("LDM-GridNavi-v0")).observation_space
    assert isinstance(space, spaces.Box)
    np.testing.assert_array_equal(space.low, [0, 0, 0, 0, 0, 0, 0, -np.inf, 0])
    np.testing.assert_array_equal(space.high, [6, 6, 1, 1, 1, 1, 1, np.inf, 1])
    env = gym.make("LDM-GridNavi-v0")
    space = BeliefObservationWrapper(env, small_model(env)).observation_space
    np.testing.assert_array_equal(space.low, [0, 0] + [-np.inf] * 6)
    np.testing.assert_array_equal(space.high, [6, 6] + [np.inf] * 6)


@pytest.mark.filterwarnings("ignore::UserWarning")  # advice on wrapped and unbounded spaces
@pytest.mark.parametrize("env_id", ["LDM-GridNavi-v0", "CartPole-v1", "Pendulum-v1"])
def test_gymnasium_checks_the_scalar_chain(env_id: str) -> None:
    base = MultiEpisodeWrapper(gym.make(env_id, max_episode_steps=20), 2)
    model = small_model(base, p_drop=0.5)
    beliefs = SavedBeliefs(np.random.default_rng(0).normal(size=(3, 9, 3)))
    one = ExpectedReward(n_dropout_masks=1)
    imagined = ImaginaryRewardWrapper(base, model, beliefs, imagination=one)
    check_env(imagined, skip_render_check=True)
    check_env(RL2ObservationWrapper(imagined), skip_render_check=True)
    check_env(BeliefObservationWrapper(base, model), skip_render_check=True)


def test_a_spec_makes_the_chain_again_around_the_same_live_objects() -> None:
    base = gym.make("LDM-GridNavi-v0")
    model = small_model(base)
    pool = BeliefPool(2, model.config.latent_dim)
    meta = MultiEpisodeWrapper(base, 2)
    env = RL2ObservationWrapper(ImaginaryRewardWrapper(meta, model, pool, seed=4))
    spec = env.spec
    assert spec is not None
    names = [one.name for one in spec.additional_wrappers]
    # the time limit is that of the inner episodes: the spec itself says that of a meta-episode
    assert names.pop(0) == "TimeLimit" and spec.max_episode_steps == 60
    assert names == ["MultiEpisodeWrapper", "ImaginaryRewardWrapper", "RL2ObservationWrapper"]
    again = gym.make(spec)
    assert again.reset(seed=0)[0].shape == env.observation_space.shape
    assert again.get_wrapper_attr("latent_dynamics") is model
    assert again.get_wrapper_attr("beliefs") is pool
    publisher = BeliefPublisherWrapper(meta, model, pool, 1)
    remade = gym.make(RL2ObservationWrapper(publisher).spec)
    assert remade.get_wrapper_attr("pool") is pool and remade.get_wrapper_attr("index") == 1


def test_spaces_and_modes_that_do_not_fit_are_refused() -> None:
    class DictEnv(ScriptedEnv):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = spaces.Dict({"x": self.observation_space})

    class MultiEnv(ScriptedEnv):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = spaces.Tuple([spaces.Discrete(3)])

    with pytest.raises(TypeError, match=r"must be a Box, got Dict.*FlattenObservation"):
        RL2ObservationWrapper(DictEnv())
    with pytest.raises(TypeError, match=r"MultiBinary, got Tuple.*TransformAction"):
        RL2ObservationWrapper(MultiEnv())
    with pytest.raises(TypeError, match=r"must be a Box, got Dict"):
        small_model(DictEnv())
    model = small_model(gym.make("LDM-GridNavi-v0"))
    with pytest.raises(ValueError, match="observation_size=4"):
        BeliefObservationWrapper(ScriptedEnv(), model)
    disabled = scripted_vector((3,), (4,))
    for make in (
        lambda: vector.RL2ObservationWrapper(disabled),
        lambda: vector.BeliefObservationWrapper(disabled, model),
        lambda: vector.ImaginaryRewardWrapper(disabled, model, n_mixture=1),
    ):
        with pytest.raises(ValueError, match="SAME_STEP, got DISABLED"):
            make()
    meta = vector.MultiEpisodeWrapper(disabled, 1)
    with pytest.raises(ValueError, match="observation_size=4"):
        vector.BeliefObservationWrapper(meta, model)
    own = small_model(disabled)
    for env in (
        vector.RL2ObservationWrapper(meta),
        vector.BeliefObservationWrapper(meta, own),
        vector.ImaginaryRewardWrapper(meta, own, n_mixture=1),
    ):
        with pytest.raises(ValueError, match="reset_mask"):
            env.reset(options={"reset_mask": np.array([True, False])})

"""Wrappers held in ways that gave wrong numbers without a word."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from reference_models import small_model
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecMonitor, VecNormalize
from wrapper_stubs import ScriptedEnv, scripted_vector

from ldm_wrappers import (
    BeliefObservationWrapper,
    BeliefPool,
    BeliefPublisherWrapper,
    ImaginaryRewardWrapper,
    MultiEpisodeWrapper,
    TrajectoryBuffer,
    vector,
)
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer, TransitionSpec
from ldm_wrappers.latent_dynamics.tracker import BeliefTracker
from ldm_wrappers.sb3 import LatentDynamicsCallback, VectorEnvAdapter
from ldm_wrappers.sb3.callbacks import show_newest_beliefs
from ldm_wrappers.state_file import load_state, save_state

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)


def trajectories(n: int, n_steps: int, reward: float, spec: TransitionSpec) -> dict[str, Any]:
    shapes = {
        "observations": (spec.observation_size,),
        "actions": (spec.action_columns,),
        "rewards": (),
        "next_observations": (spec.observation_size,),
    }
    return {
        name: np.full((n, n_steps, *shape), reward if name == "rewards" else 0.0, np.float32)
        for name, shape in shapes.items()
    }


def test_moments_forget_the_ends_of_longer_trajectories_that_were_replaced() -> None:
    spec = TransitionSpec.from_spaces(BOX, BOX)
    buffer = TrajectoryBuffer(spec, capacity=2, max_length=100)
    buffer.add(trajectories(2, 100, -1.0, spec), np.array([100, 100]))
    buffer.add(trajectories(1, 10, -1.0, spec), np.array([10]))
    assert buffer.reward_moments() == (-1.0, 0.0)
    buffer.add(trajectories(1, 10, 3.0, spec), np.array([10]))
    assert buffer.reward_moments() == (1.0, 2.0)


@pytest.mark.parametrize("keep", [[False, True, True], [True, False, False], [False, False, True]])
@pytest.mark.parametrize(
    "wrap", [vector.TaskRowsWrapper, lambda env: vector.MultiEpisodeWrapper(env, 2)]
)
def test_kept_tasks_are_kept_whichever_row_is_first(
    wrap: Callable[[Any], Any], keep: list[bool]
) -> None:
    env = wrap(scripted_vector((3,), (3,), (3,)))
    before = env.reset(seed=1)[1]["task"].copy()
    after = env.reset(options={"keep_task": np.array(keep)})[1]["task"]
    np.testing.assert_array_equal((before == after)[:, 0], keep)


class OwnArrays(VectorEnv[Any, Any, Any]):
    """Hands out the arrays that it works with."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}

    def __init__(self) -> None:
        self.num_envs = 2
        self.single_observation_space = spaces.Box(-99.0, 99.0, (1,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, 2)
        self.action_space = batch_space(self.single_action_space, 2)
        self.state, self.rewards = np.zeros((2, 1), np.float32), np.zeros(2)
        self.terminated, self.truncated = np.zeros(2, bool), np.zeros(2, bool)
        self.infos = {"is_success": np.zeros(2, bool)}

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        rows = (options or {}).get("reset_mask", np.ones(2, bool))
        self.state[rows], self.truncated[rows], self.rewards[rows] = 0.0, False, 0.0
        self.infos["is_success"][rows] = False
        return self.state, self.infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.state += 1.0
        self.rewards[:] = self.state[:, 0]
        self.truncated[:] = self.state[:, 0] >= 3.0
        self.infos["is_success"][:] = self.truncated
        return self.state, self.rewards, self.terminated, self.truncated, self.infos


def test_an_environment_may_reuse_its_arrays_when_it_is_reset() -> None:
    env = vector.MultiEpisodeWrapper(OwnArrays(), 2, check_tasks=False)
    shown = [(0, env.reset()[0])]
    for step in range(1, 7):
        observations, rewards, _, truncations, infos = env.step([0, 0])
        count = (step - 1) % 3 + 1
        np.testing.assert_array_equal(rewards, count)
        np.testing.assert_array_equal(infos["next_obs"], count)
        np.testing.assert_array_equal(observations, 0 if count == 3 else count)
        assert truncations.all() == (step == 6)
        shown.append((0 if count == 3 else count, observations))
    for count, observations in shown:  # are the caller's, and stay
        np.testing.assert_array_equal(observations, count)
    assert infos["final_info"]["is_success"].all()
    np.testing.assert_array_equal(np.stack(list(infos["final_obs"])), 3.0)
    np.testing.assert_array_equal(infos["final_info"]["episode_returns"], 6.0)


class OwnArray(gym.Env[Any, Any]):
    """Counts the steps of an episode of two in the array that it hands out."""

    observation_space = spaces.Box(-99.0, 99.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.state = np.zeros(1, np.float32)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.state[:] = 0.0
        return self.state, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.state += 1.0
        return self.state, 0.0, False, bool(self.state[0] == 2.0), {}


def test_the_last_observation_of_a_task_is_not_overwritten_by_the_next_reset() -> None:
    makers = [lambda: MultiEpisodeWrapper(OwnArray(), 2, check_tasks=False)] * 2
    batch = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    model = small_model(batch)
    buffer = TrajectoryBuffer(model.spec, capacity=2, max_length=4)
    env = vector.BeliefObservationWrapper(batch, model, buffer=buffer)
    env.reset()
    for _ in range(4):
        env.step(np.zeros(2, np.int64))
    assert buffer.newest(2).next_observations[:, :, 0].T.tolist() == [[1, 2, 1, 2]] * 2


class Scaled(gym.vector.VectorWrapper):
    def reset(self, **kwargs: Any) -> Any:
        observations, infos = self.env.reset(**kwargs)
        return 10.0 * observations, infos

    def step(self, actions: Any) -> Any:
        observations, *rest = self.env.step(actions)
        return 10.0 * observations, *rest


def test_observations_changed_around_meta_episodes_are_refused() -> None:
    batch = Scaled(vector.MultiEpisodeWrapper(scripted_vector((3,), (3,)), 2))
    model = small_model(batch)
    env = vector.ImaginaryRewardWrapper(batch, model, n_mixture=1, seed=0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="inside MultiEpisodeWrapper"):
        env.step(env.action_space.sample())

    def ten_times(observation: Any) -> Any:
        return 10.0 * observation

    meta = MultiEpisodeWrapper(ScriptedEnv((3,)), 2)
    scaled = gym.wrappers.TransformObservation(meta, ten_times, meta.observation_space)
    one = BeliefObservationWrapper(scaled, model)
    one.reset(seed=0)
    with pytest.raises(ValueError, match="inside MultiEpisodeWrapper"):
        one.step(0)


def test_other_shapes_and_dtypes_of_the_same_numbers_are_fine() -> None:
    def wider(observation: Any) -> Any:
        return observation.astype(np.float64).reshape(2, 2)

    meta = MultiEpisodeWrapper(ScriptedEnv((2, 3)), 2)
    space = spaces.Box(-np.inf, np.inf, (2, 2), np.float64)
    model = small_model(meta)
    env = BeliefObservationWrapper(gym.wrappers.TransformObservation(meta, wider, space), model)
    env.reset(seed=0)
    for _ in range(5):
        ended = any(env.step(1)[2:4])
    assert ended


def test_rows_that_nobody_publishes_to_are_not_mixed() -> None:
    env = ScriptedEnv((3,))
    model = small_model(env)
    pool = BeliefPool(3, model.config.latent_dim)
    for index in (0, 0, 2):  # slips
        BeliefPublisherWrapper(ScriptedEnv((3,)), model, pool, index).reset(seed=index)
    imaginary = ImaginaryRewardWrapper(ScriptedEnv((3,)), model, pool, seed=0)
    imaginary.reset(seed=0)
    with pytest.raises(ValueError, match=r"rows \[1\] of the 3"):
        imaginary.step(0)
    with pytest.raises(ValueError, match=r"rows \[1\] of the 3"):
        pool.final_means()
    BeliefPublisherWrapper(ScriptedEnv((3,)), model, pool, 1)
    assert pool.means(0).shape == (3, model.config.latent_dim)
    with pytest.raises(ValueError, match="index must be an integer, got True"):
        pool.publish(True, pool.means(0)[0])


def filled(model: Any) -> TrajectoryBuffer:
    buffer = TrajectoryBuffer(model.spec, capacity=2, max_length=5)
    buffer.add(trajectories(2, 5, 0.5, model.spec), np.array([5, 5]))
    return buffer


def test_loaded_weights_are_trained_from_then_on() -> None:
    model, good = (small_model(ScriptedEnv((3,)), seed=seed) for seed in (1, 2))
    trainer = LatentDynamicsTrainer(model, filled(model), averaging=0.5, learning_rate=1e-5)
    trainer.update(2)
    model.load_state_dict(good.state_dict())
    trainer.update(20)
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, good.get_parameter(name), atol=1e-3, rtol=0.0)


@pytest.mark.parametrize("model_first", [True, False])
def test_a_running_average_is_restored_in_any_order(model_first: bool) -> None:
    model = small_model(ScriptedEnv((3,)), seed=1)
    trainer = LatentDynamicsTrainer(model, filled(model), averaging=0.9, seed=3)
    trainer.update(3)
    other = small_model(ScriptedEnv((3,)), seed=2)
    again = LatentDynamicsTrainer(other, filled(other), averaging=0.9, seed=3)
    parts = copy.deepcopy([model.state_dict(), trainer.state_dict()])
    pairs = list(zip((other, again), parts, strict=True))
    for part, state in pairs if model_first else pairs[::-1]:
        part.load_state_dict(state)
    again.buffer.load_state_dict(trainer.buffer.state_dict())
    assert trainer.update(2) == again.update(2)
    for name, value in model.named_parameters():
        assert torch.equal(value, other.get_parameter(name))


def test_a_trainer_goes_on_from_a_state_that_was_read_from_a_file(tmp_path: Path) -> None:
    """Files hold arrays: the optimizer was loaded, then the generator failed."""
    model = small_model(ScriptedEnv((3,)), seed=1)
    trainer = LatentDynamicsTrainer(model, filled(model), seed=3)
    trainer.update(3)
    save_state(tmp_path / "trainer", trainer.state_dict())
    other = copy.deepcopy(model)
    again = LatentDynamicsTrainer(other, filled(other), seed=4)
    again.load_state_dict(load_state(tmp_path / "trainer"))
    again.buffer.load_state_dict(trainer.buffer.state_dict())
    assert trainer.update(2) == again.update(2)
    for name, value in model.named_parameters():
        assert torch.equal(value, other.get_parameter(name))


def test_actions_that_no_space_has_are_refused() -> None:
    spec = TransitionSpec.from_spaces(BOX, spaces.MultiDiscrete([2, 3]))
    np.testing.assert_array_equal(spec.actions(np.array([[1, 2]])), [[1.0, 2.0]])
    for wrong in ([[0.9, 1.9]], [[2, 0]], [[0, 3]], [[-1, 0]]):
        with pytest.raises(ValueError, match="expected"):
            spec.actions(np.array(wrong))


def test_an_action_that_is_not_finite_reaches_no_belief() -> None:
    env = ScriptedEnv((3,), action="box")
    tracker = BeliefTracker(small_model(env), 2)
    zeros = np.zeros((2, 4), np.float32)
    with pytest.raises(FloatingPointError, match=r"action of worker 1 is not finite: \[ 0. nan\]"):
        tracker.update(zeros, np.array([[0, 0], [0, np.nan]], np.float32), np.zeros(2), zeros)
    tracker._filter.hidden[0] = np.nan  # a worker's broken belief ends with its task
    tracker.end(np.array([True, False]))
    assert bool(torch.isfinite(tracker.posterior().mean).all())


def test_weights_that_torch_does_not_count_can_be_told() -> None:
    env = ScriptedEnv((9,), action="box")
    model = small_model(env)
    tracker = BeliefTracker(model, 1)
    row = np.ones((1, 4), np.float32)
    tracker.update(row, np.ones((1, 2), np.float32), np.ones(1), row)
    before = tracker.posterior().mean
    vector_of = torch.nn.utils.parameters_to_vector(model.encoder.parameters())
    torch.nn.utils.vector_to_parameters(0.5 * vector_of, model.encoder.parameters())
    moved = tracker.posterior().mean
    assert not torch.equal(before, moved)
    for parameter in model.encoder.parameters():
        parameter.data.mul_(0.5)
    tracker.encode_again(changed=True)
    assert not torch.equal(moved, tracker.posterior().mean)


def belief_chain() -> tuple[VectorEnvAdapter, Any]:
    env = vector.MultiEpisodeWrapper(scripted_vector((4,), (4,)), 1)
    model = small_model(env)
    return VectorEnvAdapter(vector.BeliefObservationWrapper(env, model)), model


@pytest.mark.parametrize(
    "wrap", [lambda env: env, VecMonitor, lambda env: VecNormalize(VecMonitor(env))]
)
def test_the_newest_belief_is_shown_through_statistics(wrap: Callable[[Any], Any]) -> None:
    adapter, model = belief_chain()
    agent = PPO("MlpPolicy", wrap(adapter), n_steps=6, batch_size=12, device="cpu", n_epochs=1)
    agent.learn(12)
    before = agent._last_obs.copy()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(3.0)
    show_newest_beliefs(agent)
    assert (agent._last_obs != before).any()
    expected = adapter.env.current_observations()
    if isinstance(agent.env, VecNormalize):
        expected = agent.env.normalize_obs(expected)
    np.testing.assert_array_equal(agent._last_obs, expected)


def test_a_wrapper_that_keeps_former_beliefs_is_told_of() -> None:
    adapter, _ = belief_chain()
    agent = PPO("MlpPolicy", VecFrameStack(adapter, 2), n_steps=4, batch_size=8, device="cpu")
    with pytest.warns(UserWarning, match="VecFrameStack shows a belief under outdated weights"):
        show_newest_beliefs(agent)


@pytest.mark.parametrize("kind", ["around", "single"])
def test_beliefs_that_cannot_be_shown_anew_are_told_of(kind: str) -> None:
    env = vector.MultiEpisodeWrapper(scripted_vector((4,), (4,)), 1)
    model = small_model(env)
    if kind == "around":
        chain: Any = gym.wrappers.vector.RecordEpisodeStatistics(
            vector.BeliefObservationWrapper(env, model)
        )
        vec_env: Any = VectorEnvAdapter(chain)
    else:

        def one() -> Any:
            return BeliefObservationWrapper(MultiEpisodeWrapper(ScriptedEnv((4,)), 1), model)

        vec_env = DummyVecEnv([one, one])
    agent = PPO("MlpPolicy", vec_env, n_steps=4, batch_size=8, device="cpu")
    with pytest.warns(UserWarning, match="shows a belief under outdated weights"):
        show_newest_beliefs(agent)


@pytest.mark.parametrize("slip", ["no buffer", "another buffer", "another model", "none"])
def test_a_callback_that_trains_nothing_says_so(slip: str) -> None:
    env = vector.MultiEpisodeWrapper(scripted_vector((3,), (3,)), 1)
    model = small_model(env)
    buffers = [TrajectoryBuffer(model.spec, capacity=4, max_length=3) for _ in range(2)]
    fed = {"no buffer": None, "another buffer": buffers[1]}.get(slip, buffers[0])
    trained = small_model(env, seed=3) if slip == "another model" else model
    wrapped = vector.ImaginaryRewardWrapper(env, model, n_mixture=1, buffer=fed, seed=0)
    agent = PPO("MlpPolicy", VectorEnvAdapter(wrapped), n_steps=6, batch_size=12, device="cpu")
    callback = LatentDynamicsCallback(LatentDynamicsTrainer(trained, buffers[0]), n_updates=1)
    message = "model other than" if slip == "another model" else "will not be trained"
    if slip == "none":
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            agent.learn(24, callback=callback)
        assert callback.trainer.n_updates > 0
    else:
        with pytest.warns(UserWarning, match=message):
            agent.learn(24, callback=callback)


def test_a_bernoulli_decoder_says_which_rewards_it_cannot_imagine() -> None:
    model = small_model(ScriptedEnv((3,)), likelihood="bernoulli", reward_low=-0.1, reward_high=1.0)
    trainer = LatentDynamicsTrainer(model, filled(model))
    with pytest.warns(UserWarning, match="rewards such as 0.5 are neither reward_low=-0.1"):
        trainer.update(1)
    fine = TrajectoryBuffer(model.spec, capacity=2, max_length=5)
    fine.add(trajectories(2, 5, -0.1, model.spec), np.array([4, 2]))  # zeros behind the shorter
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        late = LatentDynamicsTrainer(model, fine)
        late.update(1)
    fine.add(trajectories(1, 5, 10.0, model.spec), np.array([4]))  # in place of the first one
    with pytest.warns(UserWarning, match="rewards such as 10 are neither"):
        late.update(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        late.update(1)  # once


def test_a_reset_of_some_workers_is_not_cut_by_staggering() -> None:
    env = vector.MultiEpisodeWrapper(
        gym.make_vec("LDM-GridNavi-v0", 3, autoreset_mode=AutoresetMode.DISABLED), 2, stagger=True
    )
    env.reset(seed=0)
    env.step([0, 0, 0])
    env.reset(options={"reset_mask": np.array([True, False, False])})
    ends = [env.step([0, 0, 0])[3] for _ in range(59)]
    assert not np.stack(ends)[:, 0].any()
    assert env.step([0, 0, 0])[3][0]

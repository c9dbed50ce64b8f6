"""Action spaces that stable-baselines3 does not know: other starts, integer and unbounded boxes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from reference_models import small_model
from stable_baselines3 import PPO

from ldm_wrappers import BeliefObservationWrapper, RL2ObservationWrapper, TrajectoryBuffer, vector
from ldm_wrappers.latent_dynamics import TransitionSpec
from ldm_wrappers.sb3 import (
    SequenceRecurrentPPO,
    VectorEnvAdapter,
    WholeSequenceLstmPolicy,
    environment_actions,
    policy_action_space,
)
from train.common.learner import PolicyActor

OBSERVATIONS = spaces.Box(-1.0, 1.0, (1,))


class Recorder(gym.Env[Any, Any]):
    """Keeps every action it gets, with its type; an episode has 9 steps."""

    observation_space = OBSERVATIONS

    def __init__(self, action_space: spaces.Space[Any]) -> None:
        self.action_space = action_space
        self.got: list[Any] = []

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.got.append(np.array(action))
        self.t += 1
        return np.zeros(1, np.float32), 0.0, False, self.t == 9, {}


def chain(env: Recorder, belief: bool = False) -> tuple[Any, TrajectoryBuffer]:
    batch = SyncVectorEnv([lambda: env], autoreset_mode=AutoresetMode.DISABLED)
    meta = vector.MultiEpisodeWrapper(batch, 1)
    model = small_model(meta)
    buffer = TrajectoryBuffer(model.spec, capacity=50, max_length=9)
    if belief:
        return vector.BeliefObservationWrapper(meta, model, buffer=buffer), buffer
    return vector.RL2ObservationWrapper(meta), buffer


@pytest.mark.parametrize("start", [-7, 2, 10**9])
def test_a_policy_reaches_every_discrete_action_and_sees_its_one_hot(start: int) -> None:
    env = Recorder(spaces.Discrete(4, start=start))
    adapter = VectorEnvAdapter(chain(env)[0])
    assert adapter.action_space == spaces.Discrete(4)
    seen: dict[int, list[float]] = {}
    step_wait = adapter.step_wait

    def spy() -> Any:
        result = step_wait()
        if not result[2][0]:
            seen[int(env.got[-1])] = result[0][0][1:5].tolist()
        return result

    adapter.step_wait = spy  # type: ignore[method-assign]
    SequenceRecurrentPPO(
        WholeSequenceLstmPolicy, adapter, n_steps=9, batch_size=None, seed=0
    ).learn(90)
    assert seen == {start + i: np.eye(4)[i].tolist() for i in range(4)}
    assert all(action.dtype.kind == "i" for action in env.got)


@pytest.mark.parametrize("start", [-3, 5])
def test_vae_and_buffer_hold_what_the_environment_got(start: int) -> None:
    env = Recorder(spaces.Discrete(3, start=start))
    wrapped, buffer = chain(env, belief=True)
    adapter = VectorEnvAdapter(wrapped)
    PPO("MlpPolicy", adapter, n_steps=9, batch_size=9, n_epochs=1, seed=0, device="cpu").learn(27)
    batch = buffer.get(np.arange(3))
    got = np.array([int(a) for a in env.got]).reshape(3, 9).T
    one_hots = buffer.spec.encode_actions(batch.actions)
    np.testing.assert_array_equal(one_hots, np.eye(3)[got - start])


@pytest.mark.parametrize("belief", [False, True])
@pytest.mark.parametrize("start", [-2, 3])
def test_scalar_wrappers_encode_starts_and_refuse_other_actions(start: int, belief: bool) -> None:
    env = Recorder(spaces.Discrete(3, start=start))
    model = small_model(env)
    wrapped: Any = BeliefObservationWrapper(env, model) if belief else RL2ObservationWrapper(env)
    wrapped.reset()
    for action in (start, np.int8(start + 1), np.array(start + 2)):
        observation = wrapped.step(action)[0]
        if not belief:
            np.testing.assert_array_equal(observation[1:4], np.eye(3)[int(action) - start])
    for bad in (start - 1, start + 3, float(start)):
        with pytest.raises(ValueError, match=r"discrete actions from|integers"):
            wrapped.step(bad)
    assert len(env.got) == 3  # refused before the environment saw them


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 4, (1,), np.int64),
        spaces.Box(-3, 3, (2,), np.int8),
        spaces.Box(0, 255, (1,), np.uint8),
    ],
)
def test_integer_boxes_get_whole_numbers_inside_their_bounds(space: spaces.Box) -> None:
    env = Recorder(space)
    adapter = VectorEnvAdapter(chain(env)[0])
    SequenceRecurrentPPO(
        WholeSequenceLstmPolicy, adapter, n_steps=9, batch_size=None, seed=0
    ).learn(45)
    assert all(action.dtype == space.dtype and space.contains(action) for action in env.got)
    rounded = environment_actions(space, np.full((1, *space.shape), 2.6, np.float32))
    assert (rounded == 3).all()
    with pytest.raises(ValueError, match="round them"):
        TransitionSpec.from_spaces(OBSERVATIONS, space).actions(np.full((1, *space.shape), 0.5))


@pytest.mark.parametrize("low", [-np.inf, np.array([0.0, -np.inf])])
def test_unbounded_boxes_are_refused_with_a_way_out(low: Any) -> None:
    shape = np.shape(low) or (2,)
    env = Recorder(spaces.Box(np.broadcast_to(low, shape).astype(np.float32), np.inf, shape))
    with pytest.raises(ValueError, match=r"finite bounds.*TransformAction"):
        VectorEnvAdapter(chain(env)[0])


def test_spaces_with_nothing_to_translate_stay() -> None:
    for space in (spaces.Discrete(3), spaces.Box(-1, 1, (2,)), spaces.MultiBinary(3)):
        assert policy_action_space(space) is space
    actions = np.array([[0.5, -0.5]], np.float32)
    same = environment_actions(spaces.Box(-1, 1, (2,)), actions)
    assert np.array_equal(same, actions) and not np.shares_memory(same, actions)
    shifted = spaces.MultiDiscrete([3, 2], start=[1, -1])
    assert policy_action_space(shifted) == spaces.MultiDiscrete([3, 2])
    assert environment_actions(shifted, np.array([[0, 1]])).tolist() == [[1, 0]]


def test_binary_actions_are_binary() -> None:
    space = spaces.MultiBinary(3)
    drawn = np.array([[0.0, 1.0, 1.0]], np.float32)  # as stable-baselines3 draws them
    actions = environment_actions(space, drawn)
    assert actions.dtype == space.dtype and space.contains(actions[0])


GRIDS = [
    spaces.MultiBinary((2, 3)),
    spaces.MultiDiscrete([[2, 3], [4, 5]]),
    spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 0], [-1, 7]]),
]


@pytest.mark.parametrize("space", GRIDS)
def test_actions_of_two_axes_are_drawn_row_by_row(space: Any) -> None:
    drawn = [space.sample() for _ in range(4)]
    start = space.start if isinstance(space, spaces.MultiDiscrete) else 0
    flat = np.stack([(action - start).ravel() for action in drawn])
    assert all(policy_action_space(space).contains(row.astype(space.dtype)) for row in flat)
    np.testing.assert_array_equal(environment_actions(space, flat), np.stack(drawn))
    np.testing.assert_array_equal(environment_actions(space, flat[0]), drawn[0])


@pytest.mark.parametrize("space", [spaces.MultiBinary(3), spaces.MultiDiscrete([3, 2]), *GRIDS[:2]])
def test_recurrent_policies_learn_actions_of_several_parts(space: spaces.Space[Any]) -> None:
    """A Bernoulli's log-probability takes no int8, which is how binary actions are stored."""
    env = Recorder(space)
    adapter = VectorEnvAdapter(chain(env)[0])
    agent = SequenceRecurrentPPO(
        WholeSequenceLstmPolicy, adapter, n_steps=9, batch_size=None, seed=0
    )
    before = agent.policy.action_net.weight.detach().clone()
    agent.learn(27)
    assert not torch.equal(agent.policy.action_net.weight, before)
    assert len(env.got) == 27 and all(space.contains(action) for action in env.got)


class FixedPolicy:
    def predict(self, observations: Any, state: Any, starts: Any, deterministic: bool) -> Any:
        return np.array([0, 2]), state


def test_evaluation_acts_in_the_environments_actions() -> None:
    actor = PolicyActor(FixedPolicy(), None, spaces.Discrete(3, start=-5))
    actor.begin(2)
    assert actor.act(np.zeros((2, 1)), np.ones(2, bool)).tolist() == [-5, -3]


def test_padding_is_an_action_of_no_consequence_to_encoding() -> None:
    spec = TransitionSpec.from_spaces(OBSERVATIONS, spaces.Discrete(3, start=-1))
    assert spec.encode_actions(torch.zeros(2, 1)).tolist() == [[1, 0, 0]] * 2

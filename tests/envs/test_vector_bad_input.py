"""Bad input to the batched environments, over every id: shown in the error, and without effect."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from env_helpers import assert_same, sample_actions
from gymnasium.error import ResetNeeded

BAD_ARGUMENTS = [
    ({"num_envs": 0}, "0"),
    ({"num_envs": 2.5}, "2.5"),
    ({"max_episode_steps": 0}, "0"),
    ({"max_episode_steps": "ten"}, "ten"),
    ({"autoreset_mode": "Sometimes"}, "Sometimes"),
    ({"render_mode": "oil"}, "oil"),
    ({"split": 3}, "3"),
]


@pytest.mark.parametrize(("arguments", "shown"), BAD_ARGUMENTS)
def test_bad_arguments(env_id, arguments, shown):
    with pytest.raises(ValueError) as caught:
        gym.make_vec(env_id, **{"num_envs": 2, **arguments})
    assert shown in str(caught.value)


BAD_RESETS = [
    ({"options": {"tsak": 0}}, "tsak"),
    ({"options": [1]}, "[1]"),
    ({"options": {"keep_task": "no"}}, "no"),
    ({"options": {"keep_task": np.ones(2, bool)}}, "True,  True"),
    ({"options": {"keep_task": np.ones(3)}}, "1., 1., 1."),
    ({"options": {"reset_mask": None}}, "None"),
    ({"options": {"reset_mask": [True, False, True]}}, "[True, False, True]"),
    ({"options": {"reset_mask": np.ones(4, bool)}}, "(4,)"),
    ({"options": {"reset_mask": np.ones(3, int)}}, "int"),
    ({"options": {"reset_mask": np.zeros(3, bool)}}, "False"),
    ({"options": {"task": "north"}}, "north"),
    ({"options": {"task": np.zeros((2, 9))}}, "(2, 9)"),
    ({"options": {"task": np.nan}}, "nan"),
    ({"seed": -2}, "-2"),
    ({"seed": 1.5}, "1.5"),
    ({"seed": [1, 2]}, "[1, 2]"),
    ({"seed": [1, None, -3]}, "-3"),
    ({"seed": [1, None, "x"]}, "'x'"),
]


@pytest.mark.parametrize(("arguments", "shown"), BAD_RESETS)
def test_bad_resets_change_nothing(env_id, arguments, shown):
    env = gym.make_vec(env_id, num_envs=3)
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(ValueError) as caught:
        env.reset(**arguments)
    assert shown in str(caught.value)
    assert_same(before, env.get_state())


def test_bad_tasks_show_the_value(env_id):
    env = gym.make_vec(env_id, num_envs=3)
    dim = env.unwrapped.task_distribution.task_dim
    tasks = env.unwrapped.task_distribution["all"].sample(np.random.default_rng(0), 3)
    tasks[1] = -77.5
    with pytest.raises(ValueError, match=r"-77\.5"):
        env.reset(options={"task": tasks})
    with pytest.raises(ValueError, match="nan"):
        env.reset(options={"task": np.full((3, dim), np.nan)})
    tasks[1] = tasks[0]
    with pytest.raises(ValueError, match="keep_task"):
        env.reset(options={"task": tasks, "keep_task": np.array([False, True, False])})
    with pytest.raises(ResetNeeded, match=r"\[1, 2\]"):
        env.reset(options={"reset_mask": np.array([True, False, False])})


def test_bad_actions_change_nothing(env_id):
    env = gym.make_vec(env_id, num_envs=3)
    with pytest.raises(ResetNeeded, match=r"\[0, 1, 2\]"):
        env.step(sample_actions(env, 1)[0])
    with pytest.raises(ResetNeeded):
        env.get_state()
    env.reset(seed=0)
    good = sample_actions(env, 1)[0]
    if good.ndim == 1:
        bad = [
            (np.array([0, 5, 1]), "[5] in environments [1]"),
            (np.array([0, 0, -1]), "[-1]"),
            (np.array([0.0, 1.0, 2.0]), "float64"),
            (np.array([0, 1]), "(2,)"),
        ]
    else:
        nan, big = good.copy(), good.copy()
        nan[1, 2], big[2, 0] = np.nan, -1.5
        bad = [
            (nan, "[nan] at [[1, 2]]"),
            (big, "[-1.5] at [[2, 0]]"),
            (good[:2], "(2, "),
            (np.full(good.shape, "x"), "'x'"),
        ]
    for actions, shown in bad:
        before = env.get_state()
        with pytest.raises(ValueError) as caught:
            env.step(actions)
        assert shown in str(caught.value)
        assert_same(before, env.get_state())

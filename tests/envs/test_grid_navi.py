"""GridNavi: moves, rewards, the best possible returns, and pictures."""

from __future__ import annotations

import copy
import pickle
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled

IDS = ["LDM-GridNavi-v0", "LDM-GridNaviExtrapolation-v0"]
STAY, UP, RIGHT, DOWN, LEFT = range(5)


def _walk(env, goal, actions):
    env.reset(options={"task": np.float32(goal)})
    return [env.step(action) for action in actions]


@pytest.mark.parametrize(
    ("actions", "cells"),
    [
        ([UP, UP, RIGHT], [(0, 1), (0, 2), (1, 2)]),
        ([RIGHT, STAY, LEFT, LEFT], [(1, 0), (1, 0), (0, 0), (0, 0)]),
        ([DOWN, UP, DOWN, DOWN], [(0, 0), (0, 1), (0, 0), (0, 0)]),
        ([UP] * 8, [(0, min(i, 6)) for i in range(1, 9)]),
        ([RIGHT] * 8, [(min(i, 6), 0) for i in range(1, 9)]),
    ],
)
def test_moves_and_walls(actions, cells):
    results = _walk(gym.make(IDS[0]), (6, 6), actions)
    assert [tuple(obs) for obs, *_ in results] == cells
    assert all(obs.dtype == np.float32 for obs, *_ in results)


def test_reward_on_reaching_and_staying_only():
    results = _walk(gym.make(IDS[0]), (1, 2), [UP, UP, RIGHT, STAY, RIGHT, LEFT, DOWN])
    assert [reward for _, reward, *_ in results] == [-0.1, -0.1, 1, 1, -0.1, 1, -0.1]
    assert [info["is_success"] for *_, info in results] == [0, 0, 1, 1, 0, 1, 0]
    assert results[2][4]["reward_goal"] == 1 and results[2][4]["reward_step"] == 0
    assert results[0][4]["reward_goal"] == 0 and results[0][4]["reward_step"] == -0.1
    assert not any(terminated for _, _, terminated, _, _ in results)


def _best_return(env, goal) -> float:
    x, y = int(goal[0]), int(goal[1])
    path = [RIGHT] * x + [UP] * y
    results = _walk(env, goal, path + [STAY] * (30 - len(path)))
    assert [truncated for _, _, _, truncated, _ in results] == [False] * 29 + [True]
    return sum(reward for _, reward, *_ in results)


@pytest.mark.parametrize("grid_id", IDS)
def test_best_return_is_31_1_minus_1_1_d(grid_id):
    env = gym.make(grid_id)
    for goal in env.unwrapped.task_distribution["all"].tasks:
        assert _best_return(env, goal) == pytest.approx(31.1 - 1.1 * goal.sum())


def test_mean_best_returns_are_the_papers_ceilings():
    env = gym.make(IDS[0])
    sets = env.unwrapped.task_distribution
    means = {s: np.mean([_best_return(env, g) for g in sets[s].tasks]) for s in ("train", "test")}
    assert means["train"] == pytest.approx(23.28, abs=0.005)
    assert means["test"] == pytest.approx(24.50, abs=0.005)


def test_batched_walk():
    env = gym.make_vec(IDS[0], num_envs=3)
    env.reset(options={"task": np.float32([[2, 0], [0, 2], [2, 2]])})
    env.step(np.array([RIGHT, RIGHT, UP]))
    obs, rewards, _, _, infos = env.step(np.array([RIGHT, LEFT, UP]))
    assert obs.tolist() == [[2, 0], [0, 0], [0, 2]]
    assert rewards.tolist() == [1, -0.1, -0.1]
    assert infos["is_success"].tolist() == [True, False, False]
    env.step([0, 0, 0])  # a plain list of ints will do


# ------------------------------------------------------------------ rendering


def test_ansi():
    env = gym.make(IDS[0], render_mode="ansi")
    env.reset(options={"task": np.float32([2, 1])})
    env.step(UP)
    rows = [line.split() for line in env.render().splitlines()]
    assert len(rows) == 7 and all(len(row) == 7 for row in rows)
    assert rows[5][0] == "A" and rows[5][2] == "G"  # y = 1 is the last row but one
    assert sum(cell != "." for row in rows for cell in row) == 2
    env.step(RIGHT), env.step(RIGHT)
    assert "*" in env.render() and "G" not in env.render()


def _cell_colour(frame, x, y):
    size = frame.shape[0] // 7
    return tuple(frame[(6 - y) * size + size // 2, x * size + size // 2])


def test_rgb_array():
    env = gym.make(IDS[0], render_mode="rgb_array")
    env.reset(options={"task": np.float32([2, 1])})
    frame = env.render()
    assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[0] == frame.shape[1]
    agent, goal, floor = (_cell_colour(frame, *cell) for cell in ((0, 0), (2, 1), (5, 5)))
    assert len({agent, goal, floor}) == 3
    env.step(RIGHT)
    moved = env.render()
    assert _cell_colour(moved, 1, 0) == agent and _cell_colour(moved, 0, 0) != agent
    env.reset(options={"task": np.float32([5, 5])})
    assert _cell_colour(env.render(), 5, 5) == goal


def test_vector_rendering():
    env = gym.make_vec(IDS[0], num_envs=2, render_mode="rgb_array")
    env.reset(options={"task": np.float32([[2, 1], [5, 5]])})
    frames = env.render()
    assert len(frames) == 2 and not np.array_equal(*frames)
    text = gym.make_vec(IDS[0], num_envs=2, render_mode="ansi")
    text.reset(seed=0)
    assert all(isinstance(one, str) for one in text.render())
    silent = gym.make_vec(IDS[0], num_envs=2)
    silent.reset(seed=0)
    with pytest.raises(ValueError, match="render_mode"):
        silent.render()


def test_human_window():
    pygame = pytest.importorskip("pygame")
    env = gym.make(IDS[0], render_mode="human")
    env.reset(options={"task": np.float32([2, 1])})
    surface = pygame.display.get_surface()
    env.step(RIGHT)  # draws by itself
    shown = pygame.surfarray.array3d(surface).transpose(1, 0, 2)
    still = gym.make(IDS[0], render_mode="rgb_array")
    still.reset(options={"task": np.float32([2, 1])})
    still.step(RIGHT)
    assert np.array_equal(shown, still.render())
    env.close()
    assert not pygame.display.get_init()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_an_environment_with_a_window_can_be_copied(clone):
    pytest.importorskip("pygame")
    env = gym.make(IDS[0], render_mode="human")
    env.reset(seed=3)
    env.step(RIGHT)
    other = clone(env)
    first, second = ([one.step(a)[:2] for a in (UP, RIGHT)] for one in (env, other))
    for (cell, reward), (other_cell, other_reward) in zip(first, second, strict=True):
        assert np.array_equal(cell, other_cell) and reward == other_reward
    env.close()


def test_human_without_pygame(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    env = gym.make(IDS[0], render_mode="human")
    with pytest.raises(DependencyNotInstalled, match="gymnasium"):
        env.reset(seed=0)

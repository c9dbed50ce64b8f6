"""Collected episodes are what the environment did, early ends and last transitions too."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper
from line_env import HORIZON, Line

from ldm_wrappers import TaskIgnoredError
from ldm_wrappers.vector import MultiEpisodeWrapper
from train.common.rollout import play
from train.off_policy.collection import Sizes, collect
from train.off_policy.episodes import Episode
from train.off_policy.evaluation import EpisodeActor, InnerEnds


class Cliff(Line):
    """The line, which ends where |x| reaches 0.5; its actions go from 0 to 4."""

    action_space = gym.spaces.Box(0.0, 4.0, (1,), np.float32)

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        shown, reward, _, truncated, info = super().step(action / 2.0 - 1.0)
        return shown, reward, abs(self.x) >= 0.5, truncated, info


class Walk:
    """Random actions, and what it was told."""

    def __init__(self, n: int) -> None:
        self.rng, self.n = np.random.default_rng(0), n
        self.begun: list[tuple[int, int]] = []

    def begin_episode(self, row: int, episode: int) -> None:
        self.begun.append((row, episode))

    def act(self, observations: np.ndarray) -> np.ndarray:
        return self.rng.uniform(-1, 1, (self.n, 1)).astype(np.float32)

    def observe(self, actions: Any, rewards: Any, observations: Any) -> None:
        assert len(actions) == len(rewards) == len(observations) == self.n


def check_cliff(episode: Episode, goal: float) -> None:
    """An episode is one that the rules of the cliff allow."""
    x = episode.observations[:, 0]
    assert x[0] == 0
    np.testing.assert_allclose(np.diff(x), 0.2 * episode.actions[:, 0], atol=1e-6)
    np.testing.assert_allclose(episode.rewards, -np.abs(x[1:] - goal), atol=1e-6)
    assert episode.terminated == (abs(x[-1]) >= 0.5)
    assert (np.abs(x[:-1]) < 0.5).all()
    assert episode.terminated or len(episode) == HORIZON


class OneArray(VectorWrapper):
    """Shows the observations of every step in the same array."""

    def step(self, actions: Any) -> Any:
        shown, *others = self.env.step(actions)
        self.shown = getattr(self, "shown", shown)
        self.shown[:] = shown
        return self.shown, *others


@pytest.mark.parametrize("one_array", [False, True])
def test_every_transition_of_every_episode_is_kept(one_array: bool) -> None:
    tasks = np.array([[-1.0], [1.0], [-1.0]], np.float32)
    env: Any = SyncVectorEnv([Cliff] * 3, autoreset_mode=AutoresetMode.DISABLED)
    env = OneArray(env) if one_array else env
    sizes = Sizes(env.single_observation_space, env.single_action_space)
    found: dict[int, list[Episode]] = {0: [], 1: [], 2: []}
    behaviour = Walk(3)

    def finished(row: int, number: int, episode: Episode) -> None:
        assert number == len(found[row])
        found[row].append(episode)

    steps = collect(env, sizes, behaviour, tasks, 15, finished, seed=3)
    episodes = [episode for row in found.values() for episode in row]
    assert [len(row) for row in found.values()] == [15] * 3
    assert steps == sum(len(episode) for episode in episodes)
    assert sorted(behaviour.begun) == [(row, e) for row in range(3) for e in range(15)]
    assert len({len(episode) for episode in episodes}) > 2  # some ended early
    for row, goal in ((0, -1.0), (1, 1.0), (2, -1.0)):
        for episode in found[row]:
            check_cliff(episode, goal)


class Wander(EpisodeActor):
    """Random actions; begins its episodes like any other."""

    def begin_episode(self, row: int, episode: int) -> None:
        assert episode == len(self.episodes[row])

    def actions(self, observations: np.ndarray) -> np.ndarray:
        self.rng = getattr(self, "rng", np.random.default_rng(0))
        return self.rng.uniform(-1, 1, (len(observations), 1))


def test_evaluations_keep_the_transitions_and_the_ends_of_inner_episodes() -> None:
    batch = SyncVectorEnv([Cliff] * 2, autoreset_mode=AutoresetMode.DISABLED)
    env = InnerEnds.inside(MultiEpisodeWrapper(batch, 6))
    actor = Wander(Sizes(env.single_observation_space, env.single_action_space))
    found: dict[int, list[Episode]] = {}
    tasks = {"task": np.array([[-1.0], [1.0]], np.float32)}
    for step in play(env, actor, seed=3, options=tasks):
        for row in np.flatnonzero(step.ended & step.running).tolist():
            found[row] = list(actor.episodes[row])
    assert [len(found[row]) for row in (0, 1)] == [6, 6]
    for row, goal in ((0, -1.0), (1, 1.0)):
        for episode in found[row]:
            check_cliff(episode, goal)
        assert len({episode.terminated for episode in found[row][:-1]}) == 2


def test_a_further_meta_episode_begins_with_no_episodes_of_the_last_task() -> None:
    """Plots may go on; what is adapted to is of the running task only."""
    begun: list[tuple[int, int]] = []

    class Noting(Wander):
        def begin_episode(self, row: int, episode: int) -> None:
            super().begin_episode(row, episode)
            begun.append((row, episode))

    batch = SyncVectorEnv([Cliff] * 2, autoreset_mode=AutoresetMode.DISABLED)
    env = InnerEnds.inside(MultiEpisodeWrapper(batch, 3))
    actor, ends = Noting(Sizes(env.single_observation_space, env.single_action_space)), 0
    for step in play(env, actor, seed=3, forever=True):
        ends += int(step.ended[0])
        if ends == 3:
            break
    assert [episode for row, episode in begun if row == 0] == [0, 1, 2] * 3


def test_actions_reach_both_ends_of_their_box() -> None:
    sizes = Sizes(Line.observation_space, gym.spaces.Box(-2.0, 6.0, (2, 1), np.float32))
    found = sizes.environment_actions(np.array([[-1.0, 1.0], [0.0, 5.0]]))
    np.testing.assert_array_equal(found, [[[-2.0], [6.0]], [[2.0], [6.0]]])
    for space in (gym.spaces.Discrete(2), gym.spaces.Box(-np.inf, 1.0, (1,), np.float32)):
        with pytest.raises(ValueError, match="finite bounds"):
            Sizes(Line.observation_space, space)


class Stubborn(Line):
    """Draws its task at each reset but those that keep it, whatever it is given."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed)


class LaterStubborn(Line):
    """Plays the first task that it is given for ever."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options=options if seed is not None else None)


@pytest.mark.parametrize("kind", [Stubborn, LaterStubborn])
def test_episodes_of_a_task_that_was_not_given_are_an_error(kind: type[Line]) -> None:
    """They would be stored under the given task, and the context learned from them is noise."""
    env = SyncVectorEnv([kind] * 4, autoreset_mode=AutoresetMode.DISABLED)
    sizes = Sizes(env.single_observation_space, env.single_action_space)
    tasks = np.array([[-1.0], [1.0], [1.0], [-1.0]], np.float32)
    with pytest.raises(TaskIgnoredError, match="ignores or changes the given task"):
        collect(env, sizes, Walk(4), tasks, 15, lambda *_: None, seed=3)

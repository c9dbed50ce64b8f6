"""The acting of an evaluation against an inner step by hand on the same episodes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from ragged import LENGTH, Ragged, ragged, ragged_policy

from ldm_wrappers.vector import MultiEpisodeWrapper
from train.common.rollout import Step, play
from train.meta_gradient.actor import AdaptingActor
from train.meta_gradient.baseline import advantages
from train.meta_gradient.objectives import Objective
from train.meta_gradient.policy import MetaPolicy, Parameters
from train.meta_gradient.recorder import EpisodeRecorder

ROWS, N = 3, 4
TASKS = np.array([[-0.5], [0.1], [0.9]], np.float32)
POLICY, THETA = ragged_policy()


def actor(**objective: Any) -> AdaptingActor:
    chosen = dataclasses.replace(Objective("ratio", 0.5), **objective)
    return AdaptingActor(POLICY, THETA, chosen, N, LENGTH // 2, 0.9, 1.0, seed=3)


def steps(acting: AdaptingActor, tasks: Any = TASKS) -> list[Step]:
    env = MultiEpisodeWrapper(ragged(len(tasks)), N)
    return list(play(env, acting, seed=11, options={"task": tasks}))


def of_row(played: list[Step], row: int) -> list[list[tuple[Any, ...]]]:
    """Observation, action and reward of each step of each episode of a row."""
    episodes: list[list[tuple[Any, ...]]] = [[] for _ in range(N)]
    for step in played:
        if step.running[row]:
            shown = (step.observations[row], step.actions[row], step.rewards[row])
            episodes[step.episode[row]].append(shown)
    return episodes


def mean(parameters: Parameters, observations: Any) -> torch.Tensor:
    hidden = torch.tensor(np.array(observations), dtype=torch.float64)
    hidden = torch.tanh(hidden @ parameters["weight_0"] + parameters["bias_0"])
    return hidden @ parameters["weight_1"] + parameters["bias_1"]


def one_step_by_hand(
    episodes: list[list[tuple[Any, ...]]], drawn: Any, inner_lr: float
) -> Parameters:
    """Plain policy gradient on the steps of the first N - 1 episodes."""
    shape = (1, N - 1, LENGTH)
    observations, rewards, mask = np.zeros((*shape, 2)), np.zeros(shape), np.zeros(shape, bool)
    for index, episode in enumerate(episodes[:-1]):
        for time, (shown, _, reward) in enumerate(episode):
            observations[0, index, time], rewards[0, index, time] = shown, reward
            mask[0, index, time] = True
    weights = torch.tensor(advantages(observations, rewards, mask, 0.9, 1.0)[mask])
    own = {name: value.clone().requires_grad_() for name, value in THETA.items()}
    normal = torch.distributions.Normal(mean(own, observations[mask]), own["log_std"].exp())
    loss = -(weights * normal.log_prob(torch.tensor(drawn)).sum(-1)).mean()
    slopes = torch.autograd.grad(loss, list(own.values()))
    return {
        name: value.detach() - inner_lr * slope
        for (name, value), slope in zip(own.items(), slopes, strict=True)
    }


def test_the_last_episode_is_greedy_after_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    scaled = MetaPolicy.env_actions

    def remember(self: Any, actions: torch.Tensor) -> Any:
        drawn.append(actions.numpy().copy())
        return scaled(self, actions)

    monkeypatch.setattr(MetaPolicy, "env_actions", remember)
    played = steps(actor())
    for row in range(ROWS):
        episodes = of_row(played, row)
        explored = [
            drawn[time][row]
            for time, step in enumerate(played)
            if step.running[row] and step.episode[row] < N - 1
        ]
        theta = mean(THETA, [shown for episode in episodes[:-1] for shown, _, _ in episode])
        away = (torch.tensor(np.array(explored)) - theta) / THETA["log_std"].exp()
        assert (abs(away) > 1e-6).all() and abs(away).mean() < 2  # drawn, not greedy
        adapted = one_step_by_hand(episodes, np.array(explored), 0.5)
        expected = mean(adapted, [shown for shown, _, _ in episodes[-1]]).clamp(-2, 2)
        actions = torch.tensor(np.array([action for _, action, _ in episodes[-1]]))
        assert torch.allclose(actions.double(), expected, atol=1e-6)


def test_without_a_step_the_last_episode_is_that_of_theta() -> None:
    for row in range(ROWS):
        last = of_row(steps(actor(inner_lr=0.0)), row)[-1]
        expected = mean(THETA, [shown for shown, _, _ in last]).clamp(-2, 2)
        actions = torch.tensor(np.array([action for _, action, _ in last]))
        assert torch.allclose(actions.double(), expected, atol=1e-6)


def test_rows_do_not_influence_each_other() -> None:
    alone = steps(actor())
    changed = steps(actor(), np.array([[-0.5], [-0.9], [0.9]], np.float32))
    assert str(of_row(alone, 0)) == str(of_row(changed, 0))
    assert str(of_row(alone, 2)) == str(of_row(changed, 2))
    assert str(of_row(alone, 1)) != str(of_row(changed, 1))


def test_an_evaluation_repeats_and_leaves_nothing_behind() -> None:
    acting, before = actor(), {name: value.clone() for name, value in THETA.items()}
    first, second = steps(acting), steps(acting)
    assert str(first) == str(second)
    assert all(torch.equal(acting.parameters[name], before[name]) for name in before)


def test_a_further_meta_episode_begins_with_theta_again() -> None:
    """Plots may go on; each row adapts to its new task from the start."""
    env = MultiEpisodeWrapper(ragged(2), N)
    acting, adapted, ends = actor(), [], 0
    for step in play(env, acting, seed=1, options={"task": TASKS[:2]}, forever=True):
        ends += int(step.ended[0])
        if step.ended[0] and ends < 3:
            adapted.append(acting._own["bias_1"][0].clone())
        elif ends and step.episode[0] == 0:
            assert torch.equal(acting._own["bias_1"][0], THETA["bias_1"])
        if ends == 3:
            break
    assert len(adapted) == 2 and not torch.equal(*adapted)
    assert not any(torch.equal(own, THETA["bias_1"]) for own in adapted)


def test_nothing_is_left_of_a_row_that_was_begun_again() -> None:
    """Its former episodes were longer; another row's stay."""
    recorder = EpisodeRecorder(2, 2, 4)
    everyone = np.ones(2, bool)

    def record(rewards: list[float], row_0_ends: bool = False) -> None:
        ended = np.array([row_0_ends, False])
        recorder.add(np.zeros((2, 1)), np.zeros((2, 1)), np.array(rewards), ended)

    for step in range(3):
        record([10.0 + step, 1.0 + step])
    recorder.forget(np.array([True, False]))
    record([5.0, 4.0], row_0_ends=True)
    record([6.0, 5.0])
    found = recorder.episodes(everyone)
    rewards = [[[5, 0, 0, 0, 0], [6, 0, 0, 0, 0]], [[1, 2, 3, 4, 5], [0] * 5]]
    np.testing.assert_array_equal(found.rewards, rewards)
    np.testing.assert_array_equal(found.mask, np.array(rewards) > 0)
    np.testing.assert_array_equal(found.returns, [[5, 6], [15, 0]])


class Uneven(Ragged):
    """One step where the task is negative."""

    def step(self, action: Any) -> Any:
        shown, reward, ended, *rest = super().step(action)
        return shown, reward, ended or float(self.task[0]) < 0.0, *rest


def test_each_task_is_adapted_to_once_while_slower_ones_are_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapted, adapt = np.zeros(2, int), AdaptingActor._adapt

    def count(self: AdaptingActor, rows: Any) -> None:
        adapted[rows] += 1
        adapt(self, rows)

    monkeypatch.setattr(AdaptingActor, "_adapt", count)
    env = SyncVectorEnv([Uneven] * 2, autoreset_mode=AutoresetMode.DISABLED)
    tasks = np.array([[-0.5], [0.9]], np.float32)
    list(play(MultiEpisodeWrapper(env, N), actor(), seed=11, options={"task": tasks}))
    assert adapted.tolist() == [1, 1]

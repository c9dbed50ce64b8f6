"""Whole episodes of pinned tasks against what the environments wrote down themselves."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from ragged import LENGTH, ragged, ragged_policy

import ldm_envs  # noqa: F401
from ldm_envs.tasks import FiniteTaskSet, IntervalTaskSet
from ldm_wrappers.sb3 import environment_actions
from ldm_wrappers.task_protocol import TaskChangedError
from train.meta_gradient.episodes import task_batch
from train.meta_gradient.policy import MetaPolicy
from train.meta_gradient.rollouts import TaskRollouts
from train.meta_gradient.tasks import draw_tasks

TASKS, R = 3, 4


@pytest.mark.parametrize("per_task", [R, 2, 1])
def test_exactly_r_whole_episodes_of_each_task(per_task: int) -> None:
    """Before adaptation and after it, with unscaled actions and their log probabilities."""
    env = ragged(TASKS * per_task)
    policy, shared = ragged_policy()
    others = [ragged_policy(seed)[1] for seed in range(1, TASKS + 1)]
    stacked = {name: torch.stack([one[name] for one in others]) for name in shared}
    rollouts = TaskRollouts(env, policy, TASKS, R, length=3)  # longer ones make room
    tasks = np.array([[-0.5], [0.1], [0.9]], np.float32)
    generator = torch.Generator().manual_seed(5)
    rollouts.begin(7, tasks)
    for parameters in (shared, stacked):
        begun = parameters is shared  # by the reset to new tasks
        seen = [len(one.episodes) - begun for one in env.envs]
        found = rollouts.collect(parameters, generator)
        assert found.rewards.shape[:2] == (TASKS, R) and found.rewards.shape[2] <= LENGTH
        batch = task_batch(policy, parameters, found, 0.9, 1.0)
        for task in range(TASKS):
            written = [
                env.envs[task * per_task + slot].episodes[seen[task * per_task + slot] + k]
                for slot in range(per_task)
                for k in range(R // per_task)
            ]
            own = shared if parameters is shared else others[task]
            log_probs = []
            for index, episode in enumerate(written):
                assert episode["task"] == tasks[task]
                taken = found.mask[task, index]
                assert taken.sum() == episode["length"] and taken[: taken.sum()].all()
                observations, actions, rewards = map(np.array, zip(*episode["steps"], strict=True))
                assert np.array_equal(found.observations[task, index][taken], observations)
                drawn = found.actions[task, index][taken]
                assert np.allclose(np.clip(drawn[:, 0], -2, 2), actions, atol=1e-6)
                assert np.array_equal(found.rewards[task, index][taken], rewards)
                hidden = torch.tanh(
                    torch.tensor(observations, dtype=torch.float64) @ own["weight_0"]
                    + own["bias_0"]
                )
                normal = torch.distributions.Normal(
                    hidden @ own["weight_1"] + own["bias_1"], own["log_std"].exp()
                )
                log_probs.append(normal.log_prob(torch.tensor(drawn)).sum(-1))
            expected = torch.cat(log_probs)
            assert torch.allclose(batch.log_probs[task, : len(expected)], expected, atol=1e-12)
            assert batch.weights[task, len(expected) :].sum() == 0
        assert abs(found.actions).max() > 2  # some were clipped on their way
        assert found.n_steps == found.mask.sum() and not found.rewards[~found.mask].any()


def test_environments_that_draw_their_tasks_keep_them() -> None:
    env = ragged(TASKS)
    policy, parameters = ragged_policy()
    rollouts = TaskRollouts(env, policy, TASKS, R, LENGTH)
    drawn = []
    for seed in (1, 2, 1):
        begun = [len(one.episodes) for one in env.envs]
        rollouts.begin(seed, None)
        for _ in range(2):
            rollouts.collect(parameters, torch.Generator().manual_seed(0))
        tasks = [
            {float(episode["task"][0]) for episode in one.episodes[first:]}
            for one, first in zip(env.envs, begun, strict=True)
        ]
        assert all(len(own) == 1 for own in tasks)
        drawn.append([own.pop() for own in tasks])
    assert drawn[0] == drawn[2] != drawn[1] and len(set(drawn[0])) == TASKS


def test_a_reset_that_changes_the_task_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    env = ragged(TASKS)
    policy, parameters = ragged_policy()
    rollouts = TaskRollouts(env, policy, TASKS, R, LENGTH)
    reset = env.reset

    def forgetful(*, seed: Any = None, options: Any = None) -> Any:
        options = {k: v for k, v in (options or {}).items() if k != "keep_task"}
        return reset(seed=seed, options=options)

    monkeypatch.setattr(env, "reset", forgetful)
    rollouts.begin(0, None)
    with pytest.raises(TaskChangedError, match="keep_task"):
        rollouts.collect(parameters, torch.Generator().manual_seed(0))


def test_a_batch_of_ours_pins_tasks_too() -> None:
    env = gym.make_vec("LDM-HalfCheetahVel-v0", 4, autoreset_mode="Disabled", num_threads=1)
    policy = MetaPolicy(env.single_observation_space, env.single_action_space, (4,))
    parameters = policy.initial_parameters(torch.Generator().manual_seed(0))
    rollouts = TaskRollouts(env, policy, 2, 2, 200)
    rollouts.begin(0, np.array([[0.1], [3.4]], np.float32))
    generator = torch.Generator().manual_seed(0)
    first, second = (rollouts.collect(parameters, generator) for _ in range(2))
    assert first.mask.all() and first.mask.shape == second.mask.shape == (2, 2, 200)
    assert not np.array_equal(first.rewards, second.rewards)
    slow, fast = first.returns.mean(axis=1)  # standing about: 200 · 0.1 and 200 · 3.4
    assert slow > -200 and fast < -500
    env.close()


def test_whole_numbers_are_the_nearest_ones() -> None:
    """Like the on-policy learners' of an integer Box; the bounds are within reach."""
    space = spaces.Box(-2, 2, (1,), np.int64)
    policy = MetaPolicy(spaces.Box(-1, 1, (1,)), space, (), action_scale=10.0)
    wide = torch.linspace(-12, 12, 241).unsqueeze(1)
    expected = environment_actions(space, wide.numpy() / 5)
    np.testing.assert_array_equal(policy.env_actions(wide), expected)
    assert policy.env_actions(torch.tensor([[-10.0], [10.0], [0.0]])).ravel().tolist() == [-2, 2, 0]


def test_observations_are_copied_before_the_next_step_overwrites_them() -> None:
    """A batch of one's own may show all of its observations in one array."""
    policy = MetaPolicy(spaces.Box(-1, 1, (1,)), spaces.Discrete(2), ())
    reused = np.zeros((3, 1), np.float32)
    shown = policy.observation_tensor(reused)
    reused += 1
    assert shown.tolist() == [[0.0]] * 3


@pytest.mark.parametrize(("kind", "bound"), [(np.int8, 100), (np.int16, 20_000), (np.int32, 2**30)])
def test_bounds_of_small_integers_do_not_overflow(kind: Any, bound: int) -> None:
    space = spaces.Box(-bound, bound, (1,), kind)
    policy = MetaPolicy(spaces.Box(-1, 1, (1,)), space, (), action_scale=10.0)
    actions = policy.env_actions(torch.tensor([[-10.0], [-5.0], [0.0], [10.0]]))
    assert actions.dtype == kind
    assert actions.ravel().tolist() == [-bound, -bound // 2, 0, bound]


@pytest.mark.parametrize(
    ("observations", "actions", "expected"),
    [
        (spaces.Box(0, 1, (84, 84, 1)), spaces.Discrete(2), "no convolutional encoder"),
        (spaces.Discrete(3), spaces.Discrete(2), "FlattenObservation"),
        (spaces.Box(0, 1, (2,)), spaces.MultiBinary(2), "TransformAction"),
        (spaces.Box(0, 1, (2,)), spaces.Box(-np.inf, np.inf, (1,), np.int64), "finite bounds"),
        (spaces.Box(0, 1, (2,)), spaces.Box(-(2**63), 2**63 - 1, (1,), np.int64), "finite bounds"),
        (
            spaces.Box(0, 1, (2,)),
            spaces.Box(*(s * np.finfo(np.float32).max for s in (-1, 1)), (1,)),
            "finite bounds",
        ),
    ],
)
def test_spaces_that_the_policy_cannot_use_are_refused(
    observations: Any, actions: Any, expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        MetaPolicy(observations, actions, ())


def test_finite_sets_are_dealt_out() -> None:
    rng = np.random.default_rng(0)
    known = FiniteTaskSet(np.arange(5.0)[:, None])
    counts = np.bincount(draw_tasks(known, rng, 12)[:, 0].astype(int), minlength=5)
    assert sorted(counts) == [2, 2, 2, 3, 3]
    some = [tuple(draw_tasks(known, rng, 3)[:, 0]) for _ in range(20)]
    assert len(set(some)) > 10 and all(len(set(one)) == 3 for one in some)
    drawn = draw_tasks(IntervalTaskSet([(0.0, 1.0)]), rng, 9)
    assert drawn.shape == (9, 1) and len(np.unique(drawn)) == 9

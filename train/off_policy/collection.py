"""Collect training episodes on pinned tasks, in a batch of environments with one task each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ldm_wrappers.latent_dynamics import TransitionSpec
from ldm_wrappers.latent_dynamics.space_checks import has_bounds
from ldm_wrappers.task_protocol import check_pinned_rows, env_name
from ldm_wrappers.vector.infos import where_rows
from ldm_wrappers.vector.task_rows import reset_rows
from train.common.learner import AnyVectorEnv
from train.off_policy.episodes import Episode

Array = NDArray[Any]


class Sizes:
    """Sizes of observations and actions, and conversion of actions from [-1, 1].

    Args:
        observation_space: Single observation space.
        action_space: Single action space.

    Raises:
        TypeError: If observations are not arrays.
        ValueError: If actions are not continuous and bounded.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> None:
        spec = TransitionSpec.from_spaces(observation_space, action_space)
        if not (
            isinstance(action_space, spaces.Box)
            and action_space.dtype.kind == "f"
            and has_bounds(action_space)
        ):
            raise ValueError(
                "PEARL, MQL and MIER need continuous actions with finite bounds, got "
                f"{action_space}; use gymnasium.wrappers.RescaleAction or TransformAction for an "
                "unbounded Box, and method ldm, rl2 or varibad for discrete actions"
            )
        self.observation_dim = spec.observation_size
        self.action_space: Any = action_space
        self.action_dim = spec.action_columns

    def flat(self, observations: Array) -> NDArray[np.float32]:
        """Copies of observations as float32 (n, observation_dim)."""
        rows = np.array(observations, np.float32)
        return rows.reshape(len(rows), self.observation_dim)

    def environment_actions(self, actions: Array) -> Array:
        """Actions of the environment, (n, …), for actions in [-1, 1], (n, action_dim)."""
        space = self.action_space
        low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
        rows = np.asarray(actions, np.float64).reshape(len(actions), *space.shape)
        result = low + 0.5 * (rows + 1.0) * (high - low)
        clipped: Array = np.clip(result, low, high).astype(space.dtype)
        return clipped


class Recorder:
    """Gathers the steps of current episodes, one row per environment."""

    def __init__(self, n: int) -> None:
        self._steps: list[list[tuple[Array, Array, float, Array]]] = [[] for _ in range(n)]

    def add(self, row: int, step: tuple[Array, Array, float, Array]) -> None:
        """Add observation, action in [-1, 1], reward and next observation of a row."""
        self._steps[row].append(step)

    def finish(self, row: int, terminated: bool) -> Episode:
        """Return the episode of a row, and start a new one."""
        steps, self._steps[row] = self._steps[row], []
        observations = [step[0] for step in steps] + [steps[-1][3]]
        return Episode(
            np.array(observations, np.float32),
            np.array([step[1] for step in steps], np.float32),
            np.array([step[2] for step in steps], np.float32),
            terminated,
        )


class Behaviour(Protocol):
    """Acts in training episodes, one row per environment."""

    def begin_episode(self, row: int, episode: int) -> None:
        """Start episode number ``episode`` of this visit in a row."""

    def act(self, observations: NDArray[np.float32]) -> Array:
        """Actions in [-1, 1], (n, action_dim)."""

    def observe(self, actions: Array, rewards: Array, observations: Array) -> None:
        """Process a step: actions, rewards, and the observations before it."""


Finished = Callable[[int, int, Episode], None]


def collect(
    env: AnyVectorEnv,
    sizes: Sizes,
    behaviour: Behaviour,
    tasks: NDArray[np.float32],
    n_episodes: int,
    finished: Finished,
    seed: int,
) -> int:
    """Play ``n_episodes`` episodes of each task.

    A row whose episode has ended starts its next one in the same step, so that early ends waste no
    steps. There is a seeded reset first, so that the episodes depend only on ``seed`` and the
    behaviour, not on an earlier state of the environments.

    Args:
        env: Environments without autoreset.
        sizes: Their sizes.
        behaviour: Chooses the actions.
        tasks: One per environment, (n, task_dim).
        n_episodes: Episodes per environment.
        finished: Called after each episode, with the row, the episode's number and the episode.
        seed: Seed of the environments.

    Returns:
        Number of steps that belong to these episodes.

    Raises:
        TaskIgnoredError: If infos show another task than the one given to an environment.
    """
    n = env.num_envs
    done, recorder, steps = np.zeros(n, np.int64), Recorder(n), 0
    shown, infos = reset_rows(env, seed, {"task": tasks})
    check_pinned_rows(env_name(env), tasks, infos, np.ones(n, bool))
    for row in range(n):
        behaviour.begin_episode(row, 0)
    while (done < n_episodes).any():
        observations = sizes.flat(shown)
        actions = np.asarray(behaviour.act(observations), np.float32)
        shown, rewards, terminations, truncations, _ = env.step(sizes.environment_actions(actions))
        following, ended = sizes.flat(shown), np.asarray(terminations | truncations)
        behaviour.observe(actions, np.asarray(rewards, np.float32), observations)
        for row in np.flatnonzero(done < n_episodes).tolist():
            reward = float(rewards[row])
            recorder.add(row, (observations[row], actions[row], reward, following[row]))
            steps += 1
        if ended.any():
            for row in np.flatnonzero(ended & (done < n_episodes)).tolist():
                episode = recorder.finish(row, bool(terminations[row]))
                finished(row, int(done[row]), episode)
                done[row] += 1
                if done[row] < n_episodes:
                    behaviour.begin_episode(row, int(done[row]))
            shown = _restart(env, tasks, ended, shown)
    return steps


def _restart(env: AnyVectorEnv, tasks: Array, ended: NDArray[np.bool_], shown: Array) -> Any:
    """Reset the rows that ended to the same tasks; return the observations."""
    fresh, infos = reset_rows(env, None, {"task": tasks, "reset_mask": ended.copy()})
    check_pinned_rows(env_name(env), tasks, infos, ended)
    return where_rows(ended, fresh, shown)

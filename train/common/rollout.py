"""The loop in which a policy acts for evaluation, figures and videos."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

EVALUATION_SEED = 1_000_003
"""Seed of evaluations, figures and videos, which therefore have the same initial states."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of all rows.

    Attributes:
        observations: Observations before the step, (n, …).
        actions: (n, …).
        rewards: float64 (n,).
        next_observations: Observations after the step, (n, …); at the end of an inner episode,
            those at the start of the next one. The true last state is in ``infos["next_obs"]``.
        ended: Whether the meta-episode ended with this step, bool (n,).
        infos: Infos of the environment.
        episode: Inner episode that the step belongs to, from 0, int (n,).
        running: Rows whose first meta-episode was not over before this step, bool (n,).
        over: Rows whose further steps are not needed, since their meta-episode is over, bool (n,);
            always false if further meta-episodes are requested.
    """

    observations: Any
    actions: Any
    rewards: NDArray[np.float64]
    next_observations: Any
    ended: NDArray[np.bool_]
    infos: dict[str, Any]
    episode: NDArray[np.int64]
    running: NDArray[np.bool_]
    over: NDArray[np.bool_]


def play(
    env: VectorEnv[Any, Any, Any],
    actor: Any,
    *,
    seed: int | None = None,
    options: dict[str, Any] | None = None,
    forever: bool = False,
) -> Iterator[Step]:
    """Steps of one meta-episode per row, until the last one is over.

    Args:
        env: Meta-episodes, as :meth:`train.common.learner.Learner.evaluation_env` wraps them.
        actor: A :class:`train.common.learner.Actor`.
        seed: Seed of the reset.
        options: Options of the reset, such as ``{"task": …}``.
        forever: Continue with further meta-episodes until the caller stops.
    """
    n = env.num_envs
    observations, _ = env.reset(seed=seed, options=options)
    starts, running, episode = np.ones(n, bool), np.ones(n, bool), np.zeros(n, np.int64)
    actor.begin(n)
    try:
        while forever or running.any():
            actions = actor.act(observations, starts)
            shown, rewards, terminations, truncations, infos = env.step(actions)
            ended = np.asarray(terminations | truncations)
            still_running = running & ~ended
            over = np.zeros(n, bool) if forever else ~still_running
            step = Step(
                observations, actions, np.asarray(rewards, np.float64), shown, ended, infos,
                episode, running, over,
            )  # fmt: skip
            actor.observe(step)
            yield step
            observations, starts = shown, ended
            running = still_running
            episode = infos["episode_index"]
    finally:
        actor.end()

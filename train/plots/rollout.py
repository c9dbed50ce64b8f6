"""Play the greedy policy on chosen tasks, and record all true transitions and beliefs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from gymnasium.vector import VectorWrapper

from ldm_wrappers.latent_dynamics import BeliefTracker
from train.common.envs import base_env, evaluation_env
from train.common.guard import FiniteCheckWrapper
from train.common.learner import AnyVectorEnv, Learner
from train.common.rollout import EVALUATION_SEED, play

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class Rollout:
    """One greedy meta-episode per task; T is the longest length, and ``valid`` ends with each.

    Attributes:
        space: The environment's own observation space.
        tasks: float32 (n_tasks, task_dim), or ``None`` if tasks cannot be pinned.
        observations: (T, n_tasks, …), before each step.
        actions: (T, n_tasks, …).
        rewards: float64 (T, n_tasks), the environment's own.
        next_observations: (T, n_tasks, …), the true next ones, also at the end of an episode.
        episodes: int (T, n_tasks), inner episode from 0.
        valid: bool (T, n_tasks).
        infos: Infos of the environment at each step, (T, n_tasks, …) by name.
        beliefs: float32 (T + 1, n_tasks, latent_dim), posterior means before each transition and
            after the last; ``None`` for methods without a latent dynamics model.
    """

    space: Any
    tasks: Array | None
    observations: Array
    actions: Array
    rewards: Array
    next_observations: Array
    episodes: Array
    valid: Array
    infos: dict[str, Array]
    beliefs: Array | None

    def steps(self, task: int, episode: int) -> Array:
        """Indices of the steps of one inner episode of one task."""
        return np.flatnonzero(self.valid[:, task] & (self.episodes[:, task] == episode))

    def returns(self, n_episodes: int) -> Array:
        """Return of each inner episode, (n_tasks, n_episodes)."""
        counted = np.where(self.valid, self.rewards, 0.0)
        inner = [np.where(self.episodes == k, counted, 0.0).sum(0) for k in range(n_episodes)]
        return np.stack(inner, axis=1)

    def final_beliefs(self) -> Array:
        """Beliefs after each task's last transition, (n_tasks, latent_dim)."""
        assert self.beliefs is not None
        return self.beliefs[self.valid.sum(0), np.arange(self.valid.shape[1])]


class _Recorder(VectorWrapper):
    """Keeps the last true transition, inside the wrappers that reset finished episodes."""

    handles_reset_mask = True  # its state covers all environments at once

    def __init__(self, env: AnyVectorEnv) -> None:
        super().__init__(env)
        self.latest: dict[str, Any] = {}
        self._shown: Any = None

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        self._shown, infos = self.env.reset(**arguments)
        return self._shown, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        result = self.env.step(actions)
        self.latest = {
            "observations": np.array(self._shown),
            "actions": np.array(actions),
            "rewards": np.array(result[1], np.float64),
            "next_observations": np.array(result[0]),
            "infos": {k: v.copy() for k, v in result[4].items() if _numeric(k, v, self.num_envs)},
        }
        self._shown = result[0]
        return result


def _numeric(name: str, value: Any, rows: int) -> bool:
    plain = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    return plain and not name.startswith("_") and value.shape[:1] == (rows,)


def record(learner: Learner, tasks: Array | None) -> Rollout:
    """Play one greedy meta-episode per task, all tasks as one batch.

    Args:
        learner: A loaded run.
        tasks: float32 (n_tasks, task_dim); ``None`` for one seeded reset.
    """
    n = 1 if tasks is None else len(tasks)
    recorder = _Recorder(FiniteCheckWrapper(base_env(learner.config, n, "train", "sync")))
    env = evaluation_env(learner, recorder)
    options = None if tasks is None else {"task": np.asarray(tasks, np.float32)}
    model = learner.latent_dynamics
    tracker = None if model is None else BeliefTracker(model, n)
    beliefs = [] if tracker is None else [tracker.posterior().mean.cpu().numpy()]
    rows: list[dict[str, Any]] = []
    for step in play(env, learner.actor(), seed=EVALUATION_SEED, options=options):
        row = recorder.latest
        rows.append({**row, "valid": step.running, "episodes": step.episode})
        if tracker is not None:
            spec = tracker.model.spec
            tracker.update(
                spec.observations(row["observations"]),
                spec.actions(row["actions"]),
                row["rewards"],
                spec.observations(row["next_observations"]),
            )
            beliefs.append(tracker.posterior().mean.cpu().numpy())
    env.close()
    names = ("observations", "actions", "rewards", "next_observations", "episodes", "valid")
    stacked = {name: np.stack([row[name] for row in rows]) for name in names}
    reported = set.intersection(*(set(row["infos"]) for row in rows))
    recorded = {name: np.stack([row["infos"][name] for row in rows]) for name in reported}
    means = np.stack(beliefs) if beliefs else None
    return Rollout(
        recorder.single_observation_space, tasks=tasks, infos=recorded, beliefs=means, **stacked
    )

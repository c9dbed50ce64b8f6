"""Judges a policy greedily on pinned tasks, per inner episode."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np
from stable_baselines3.common.vec_env import VecNormalize

from ldm_wrappers.latent_dynamics import LatentDynamics
from train.common.envs import evaluation_env, evaluation_tasks
from train.config.on_policy import OnPolicySettings

Array = np.ndarray[Any, np.dtype[Any]]


class PredictsActions(Protocol):
    """What a stable-baselines3 policy or algorithm offers."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Actions (batch, …) and the next recurrent state."""


@dataclasses.dataclass(frozen=True)
class SplitResult:
    """Greedy meta-episodes on the tasks of one split.

    Attributes:
        split: Name of the split.
        tasks: float32 (n_tasks, task_dim), or ``None`` where tasks cannot be pinned.
        returns: float64 (n_tasks, n_episodes), undiscounted return of each inner episode.
        reached: bool (n_tasks, n_episodes), whether ``is_success`` was seen; ``None`` where the
            environment does not report it.
    """

    split: str
    tasks: Array | None
    returns: Array
    reached: Array | None


class Evaluator:
    """Runs one greedy meta-episode per task, all tasks of all splits as one batch.

    Args:
        config: Configuration of the run.
        model: Its latent dynamics model, where the policy sees beliefs.
        seed: Seed of the environments, so that every evaluation meets the same starts.
    """

    def __init__(
        self, config: OnPolicySettings, model: LatentDynamics | None, seed: int = 1_000_003
    ) -> None:
        self.config = config
        self.seed = seed
        self._tasks = evaluation_tasks(config)
        sizes = [config.eval_tasks if t is None else len(t) for t in self._tasks.values()]
        self._bounds = np.cumsum([0, *sizes])
        self.env = evaluation_env(config, int(self._bounds[-1]), model)

    def evaluate(
        self, policy: PredictsActions, normalizer: VecNormalize | None = None
    ) -> list[SplitResult]:
        """One result per split.

        Args:
            policy: Policy to judge; it acts deterministically.
            normalizer: Statistics to normalise observations with, left as they are.
        """
        n = int(self._bounds[-1])
        pinned = [tasks for tasks in self._tasks.values() if tasks is not None]
        options = {"task": np.concatenate(pinned)} if pinned else None
        observations, _ = self.env.reset(seed=self.seed, options=options)
        returns = np.zeros((n, self.config.n_episodes))
        reached = np.zeros((n, self.config.n_episodes), bool)
        reports_success = False
        state, starts = None, np.ones(n, bool)
        running = np.ones(n, bool)
        episode = np.zeros(n, np.int64)
        while running.any():
            if normalizer is not None:
                observations = normalizer.normalize_obs(observations)
            actions, state = policy.predict(observations, state, starts, deterministic=True)
            observations, _, terminations, truncations, infos = self.env.step(actions)
            ended = terminations | truncations
            success = infos.get("is_success")
            if ended.any():
                final = infos["final_info"]
                done_now = ended & running
                returns[done_now] = final["episode_returns"][done_now]
                success = final.get("is_success", success)
            if success is not None:
                reports_success = True
                hits = running & np.asarray(success, bool)
                reached[hits, episode[hits]] = True
            running &= ~ended
            episode = np.asarray(infos["episode_index"])
            starts = ended
        results = []
        for index, (split, tasks) in enumerate(self._tasks.items()):
            rows = slice(self._bounds[index], self._bounds[index + 1])
            hits = reached[rows] if reports_success else None
            results.append(SplitResult(split, tasks, returns[rows], hits))
        return results

    def close(self) -> None:
        """Close the environments."""
        self.env.close()


def evaluation_rows(timesteps: int, results: list[SplitResult]) -> list[dict[str, Any]]:
    """Rows of ``evaluations.csv``: one per split, task and inner episode (counted from 1)."""
    rows = []
    for result in results:
        for task in range(len(result.returns)):
            name = "" if result.tasks is None else " ".join(f"{v:g}" for v in result.tasks[task])
            for episode in range(result.returns.shape[1]):
                reached = "" if result.reached is None else int(result.reached[task, episode])
                rows.append(
                    {
                        "timesteps": timesteps,
                        "split": result.split,
                        "task": name,
                        "episode": episode + 1,
                        "return": repr(float(result.returns[task, episode])),
                        "reached": reached,
                    }
                )
    return rows


def summary(results: list[SplitResult]) -> dict[str, float]:
    """Means at the last episode per split, and tasks reached there."""
    values: dict[str, float] = {}
    for result in results:
        values[f"{result.split}_return"] = float(result.returns[:, -1].mean())
        values[f"{result.split}_return_first"] = float(result.returns[:, 0].mean())
        if result.reached is not None:
            values[f"{result.split}_reached"] = float(result.reached[:, -1].sum())
    return values

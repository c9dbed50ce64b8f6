"""Evaluate a policy on pinned tasks, per inner episode."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from gymnasium.vector import VectorWrapper

from ldm_wrappers import TaskChangedError
from train.common.belief_error import BeliefErrors
from train.common.env_source import EnvSource
from train.common.envs import base_env, evaluation_batches, evaluation_env
from train.common.guard import FiniteCheckWrapper, WorkerError
from train.common.learner import Actor, AnyVectorEnv, Learner
from train.common.random_state import global_generators_kept
from train.common.rollout import EVALUATION_SEED, play
from train.common.task_text import task_texts
from train.config.settings import RunSettings

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class SplitResult:
    """Greedy meta-episodes on the tasks of one split.

    Attributes:
        split: Name of the split.
        tasks: float32 (n_tasks, task_dim), or ``None`` where tasks cannot be pinned.
        returns: float64 (n_tasks, n_episodes), undiscounted return of each inner episode.
        reached: bool (n_tasks, n_episodes), whether ``is_success`` was reported; ``None`` if the
            environment does not report it.
        reward_errors: Reward error of the VAE's last belief, without and with dropout
            (:class:`~train.common.belief_error.BeliefErrors`), averaged over the tasks; ``None``
            for methods without a VAE.
        beliefs: Final posterior means, float32 (n_tasks, latent_dim); ``None`` without a VAE.
    """

    split: str
    tasks: Array | None
    returns: Array
    reached: Array | None
    reward_errors: tuple[float, float] | None = None
    beliefs: Array | None = None

    @property
    def mean_returns(self) -> list[float]:
        """Mean return over tasks, per inner episode."""
        return [float(column.mean()) for column in self.returns.T]

    @property
    def n_reached(self) -> list[int] | None:
        """Number of tasks reached per inner episode, ``None`` if unknown."""
        return None if self.reached is None else [int(n) for n in self.reached.sum(0)]


class StepSuccess(VectorWrapper):
    """Adds ``infos["step_success"]``: the step's own ``is_success``, if there is one.

    It goes inside ``MultiEpisodeWrapper``. Outside, the infos of a step that ends an inner episode
    are those of the following reset, whose ``is_success`` refers to the next episode.

    Args:
        env: Environments without autoreset.
    """

    handles_reset_mask = True  # for MultiEpisodeWrapper: there is no state per environment

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step, and copy ``is_success`` to another name."""
        *result, infos = self.env.step(actions)
        if "is_success" in infos:
            infos = {**infos, "step_success": np.array(infos["is_success"], bool)}
        return *result, infos


class Evaluator:
    """Plays one meta-episode per task, with all tasks of all splits of an environment in one batch.

    Args:
        learner: The learner whose policy is evaluated.
        seed: Seed of the environments, so that all evaluations have the same initial states.

    Raises:
        ValueError: If ``eval_env_id`` has other observations or actions than ``env_id``.
    """

    def __init__(self, learner: Learner, seed: int = EVALUATION_SEED) -> None:
        self.learner = learner
        self.n_episodes = learner.config.n_episodes
        self.seed = seed
        self._batches: list[tuple[AnyVectorEnv, dict[str, Array | None], Array]] = []
        first: AnyVectorEnv | None = None
        for config, tasks in evaluation_batches(learner.config):
            sizes = [config.eval_tasks if t is None else len(t) for t in tasks.values()]
            bounds = np.cumsum([0, *sizes])
            base = base_env(config, int(bounds[-1]), "train", "sync")
            first = first or base
            _check_spaces(config.env_id, base, first)
            env = StepSuccess(FiniteCheckWrapper(base))
            self._batches.append((evaluation_env(learner, env), tasks, bounds))

    def evaluate(self, actor: Actor) -> list[SplitResult]:
        """One result per split."""
        return [
            result
            for env, tasks, bounds in self._batches
            for result in self._evaluate(actor, env, tasks, bounds)
        ]

    def _evaluate(
        self, actor: Actor, env: AnyVectorEnv, by_split: dict[str, Array | None], bounds: Array
    ) -> list[SplitResult]:
        n = int(bounds[-1])
        pinned = [tasks for tasks in by_split.values() if tasks is not None]
        options = {"task": np.concatenate(pinned)} if pinned else None
        returns = np.zeros((n, self.n_episodes))
        reached = np.zeros((n, self.n_episodes), bool)
        reports_success = False
        model = self.learner.latent_dynamics
        beliefs = None if model is None else BeliefErrors(model)
        for step in play(env, actor, seed=self.seed, options=options):
            if beliefs is not None:
                beliefs.add(step)
            if step.ended.any():
                done_now = step.ended & step.running
                returns[done_now] = step.infos["final_info"]["episode_returns"][done_now]
            if "step_success" in step.infos:
                reports_success = True
                hits = step.running & step.infos["step_success"]
                reached[hits, step.episode[hits]] = True
        judged = None if beliefs is None else beliefs.per_row()
        results = []
        for index, (split, tasks) in enumerate(by_split.items()):
            rows = slice(bounds[index], bounds[index + 1])
            hits = reached[rows] if reports_success else None
            result = SplitResult(split, tasks, returns[rows], hits)
            if judged is not None:
                means = judged[0][:, rows].mean(1)
                both = float(means[0]), float(means[1])
                result = dataclasses.replace(result, reward_errors=both, beliefs=judged[1][rows])
            results.append(result)
        return results

    def close(self) -> None:
        """Close the environments."""
        for env, _, _ in self._batches:
            env.close()


def _check_spaces(env_id: str, env: AnyVectorEnv, trained: AnyVectorEnv) -> None:
    """Refuse environments whose observations or actions differ from those of the training."""
    shapes = [one.single_observation_space.shape for one in (env, trained)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"eval_env_id {env_id} has observations of shape {shapes[0]}, expected those of "
            f"env_id, {shapes[1]}"
        )
    if env.single_action_space != trained.single_action_space:
        raise ValueError(
            f"eval_env_id {env_id} has actions {env.single_action_space}, expected those of "
            f"env_id, {trained.single_action_space}; gymnasium.wrappers.RescaleAction changes "
            "bounds"
        )


def refuse_unplayable_tasks(learner: Learner) -> None:
    """Begin each evaluated task once, in environments of its own, before hours of training.

    Tasks of ``ldm_envs`` can always be played by a policy that was trained there, and are skipped.

    Raises:
        ValueError: If a task cannot be evaluated; the message shows it.
    """
    config = learner.config
    for one, by_split in evaluation_batches(config):
        if not config.eval_env_id and EnvSource.of(one).of_ldm_envs:
            continue
        with global_generators_kept():  # environments may draw from them
            env = evaluation_env(learner, FiniteCheckWrapper(base_env(one, 1, "train", "sync")))
            try:
                for split, tasks in by_split.items():
                    for task in [None] if tasks is None else list(tasks):
                        _begin(env, one, split, task)
            finally:
                env.close()


def _begin(env: AnyVectorEnv, config: RunSettings, split: str, task: Array | None) -> None:
    try:
        env.reset(seed=EVALUATION_SEED, options=None if task is None else {"task": task[None]})
    except (ValueError, TypeError, FloatingPointError, WorkerError, TaskChangedError) as error:
        shown = "" if task is None else f" task {task.tolist()}"
        raise ValueError(
            f"split {split!r} of {config.env_id} cannot be evaluated with method {config.method}, "
            f"expected tasks like those that it is trained on:{shown}: {error}"
        ) from error


def evaluation_rows(timesteps: int, results: list[SplitResult]) -> list[dict[str, Any]]:
    """Rows of ``evaluations.csv``: one per split, task and inner episode (counted from 1)."""
    rows = []
    for result in results:
        n_tasks = len(result.returns)
        names = [""] * n_tasks if result.tasks is None else task_texts(result.tasks)
        for task in range(n_tasks):
            for episode in range(result.returns.shape[1]):
                reached = "" if result.reached is None else int(result.reached[task, episode])
                rows.append(
                    {
                        "timesteps": timesteps,
                        "split": result.split,
                        "task": names[task],
                        "episode": episode + 1,
                        "return": repr(float(result.returns[task, episode])),
                        "reached": reached,
                    }
                )
    return rows


def summary(results: list[SplitResult]) -> dict[str, float]:
    """Mean return and tasks reached in the last episode, per split."""
    values: dict[str, float] = {}
    for result in results:
        values[f"{result.split}_return"] = result.mean_returns[-1]
        values[f"{result.split}_return_first"] = result.mean_returns[0]
        if result.reward_errors is not None:
            names = ("reward_error", "reward_error_with_dropout")
            values |= {
                f"{result.split}_{name}": error
                for name, error in zip(names, result.reward_errors, strict=True)
            }
        if result.n_reached is not None:
            values[f"{result.split}_reached"] = float(result.n_reached[-1])
    return values

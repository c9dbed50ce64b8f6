"""References for reward errors: the variance under the prior, and the exact posterior."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.belief_data import Trajectories

NOISE = 0.1
"""Standard deviation of the assumed reward noise, for the weights of tasks drawn from the prior."""


def prior_variance(trajectories: Trajectories, n_tasks: int = 512, seed: int = 0) -> float:
    """Variance of the reward of a transition under the split's tasks, averaged over transitions.

    This is the error of an observer who knows the reward functions and the task distribution, but
    has not seen anything of the task.
    """
    tasks = particles(trajectories, n_tasks, np.random.default_rng(seed))
    total = 0.0
    for part in trajectories.parts(20):
        rewards = part.rewards_of(tasks)
        total += float((rewards.var(-1, dtype=np.float64) * part.valid()).sum())
    return total / int(trajectories.lengths.sum())


def exact_errors(
    trajectories: Trajectories, times: tuple[int, ...], n_tasks: int = 4_000, seed: int = 0
) -> list[float]:
    """Mean squared reward error of the exact posterior after ``times`` steps of a task.

    Tasks drawn from the prior are weighted by the likelihood of the observed rewards, with normal
    noise of :data:`NOISE`. Rewards of the whole trajectory are predicted by the weighted mean.
    """
    tasks = particles(trajectories, n_tasks, np.random.default_rng(seed))
    errors, counts = np.zeros(len(times)), np.zeros(len(times))
    for one in trajectories.parts(1):
        length = int(one.lengths[0])
        rewards, truth = one.rewards_of(tasks)[0, :length], one.rewards[0, :length, None]
        squares = np.square(rewards - truth, dtype=np.float64)
        for index, time in enumerate(times):
            if time <= length:
                weights = _weights(squares[:time].sum(0) / (2 * NOISE**2))
                errors[index] += np.square(rewards @ weights - truth[:, 0]).sum()
                counts[index] += length
    return (errors / np.maximum(counts, 1)).tolist()


def particles(trajectories: Trajectories, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """All tasks of the trajectories' split if it is finite, else ``n`` draws: (k, task_dim)."""
    task_set = trajectories.task_set()
    return task_set.sample(rng, n) if task_set.tasks is None else task_set.tasks


def _weights(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(energy.min() - energy)
    return weights / weights.sum()

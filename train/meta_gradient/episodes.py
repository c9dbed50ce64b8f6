"""Episodes as collected by rollouts, and as batches that the policy learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from train.meta_gradient.baseline import advantages
from train.meta_gradient.policy import MetaPolicy, Parameters


@dataclass(frozen=True)
class Episodes:
    """Whole episodes of several tasks, R of each, zero-padded to H steps.

    Attributes:
        observations: Observations of the policy, float (n_tasks, R, H, observation_size).
        actions: Actions as sampled by the policy, unscaled and unclipped: float
            (n_tasks, R, H, action_dim), or int64 (n_tasks, R, H).
        rewards: float64 (n_tasks, R, H), zero in the padding.
        mask: bool (n_tasks, R, H), true at steps that were taken.
    """

    observations: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    mask: NDArray[np.bool_]

    @property
    def returns(self) -> NDArray[np.float64]:
        """Undiscounted return of each episode, float64 (n_tasks, R)."""
        return self.rewards.sum(axis=-1)

    @property
    def n_steps(self) -> int:
        """Number of steps in all episodes."""
        return int(self.mask.sum())


@dataclass(frozen=True)
class TaskBatch:
    """The concatenated steps of each task's episodes, as used by the objectives.

    Attributes:
        observations: (n_tasks, n, observation_size).
        actions: (n_tasks, n, action_dim), or int64 (n_tasks, n).
        log_probs: (n_tasks, n), of the actions under the policy that sampled them.
        advantages: (n_tasks, n), mean 0 and standard deviation 1 over the steps of a task.
        weights: (n_tasks, n), 1 / (steps of the task) and 0 in the padding, so that a weighted sum
            is a mean over steps.
    """

    observations: torch.Tensor
    actions: torch.Tensor
    log_probs: torch.Tensor
    advantages: torch.Tensor
    weights: torch.Tensor

    def __len__(self) -> int:
        return len(self.weights)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over steps of values (…, n), per task: (…)."""
        return (self.weights * values).sum(-1)

    def chunks(self, size: int) -> Iterator[TaskBatch]:
        """The tasks in groups of ``size``; a single task has no task axis, which is faster."""
        for start in range(0, len(self), size):
            rows: Any = slice(start, start + size) if size > 1 else start
            yield TaskBatch(*(getattr(self, field.name)[rows] for field in fields(self)))


def task_batch(
    policy: MetaPolicy,
    parameters: Parameters,
    episodes: Episodes,
    gamma: float,
    gae_lambda: float,
) -> TaskBatch:
    """Episodes with their advantages and log probabilities.

    Args:
        policy: The policy.
        parameters: The parameters that sampled the actions, shared or one set per task.
        episodes: The collected episodes.
        gamma: Discount factor of the advantages.
        gae_lambda: λ of generalised advantage estimation.
    """
    mask, length = episodes.mask, episodes.mask.shape[1] * episodes.mask.shape[2]
    flat_mask = mask.reshape(len(mask), length)
    counts = flat_mask.sum(1)
    order = np.argsort(~flat_mask, axis=1, kind="stable")[:, : counts.max()]

    def packed(values: NDArray[Any]) -> NDArray[Any]:
        flat = values.reshape(len(mask), length, *values.shape[3:])
        rows = order.reshape(*order.shape, *(1,) * (flat.ndim - 2))
        return np.take_along_axis(flat, rows, axis=1)

    def tensor(values: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(values).to(policy.device, policy.dtype)

    observations = tensor(packed(episodes.observations))
    actions = torch.as_tensor(packed(episodes.actions)).to(policy.device)
    with torch.no_grad():
        log_probs = policy.distribution(parameters, observations).log_prob(actions)
    values = advantages(episodes.observations, episodes.rewards, mask, gamma, gae_lambda)
    weights = packed(mask) / counts[:, None]
    return TaskBatch(observations, actions, log_probs, tensor(packed(values)), tensor(weights))

"""Episodes as arrays, and transitions as tensors."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray

Tensor = torch.Tensor


@dataclasses.dataclass(frozen=True)
class Episode:
    """One episode of one task.

    Attributes:
        observations: float32 (T + 1, observation_dim), including the last one.
        actions: float32 (T, action_dim), in [-1, 1].
        rewards: float32 (T,).
        terminated: Whether the environment ended it, rather than a step limit.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminated: bool

    def __len__(self) -> int:
        return len(self.rewards)


@dataclasses.dataclass(frozen=True)
class Transitions:
    """Transitions as tensors with a common leading shape (…).

    Attributes:
        observations: (…, observation_dim).
        actions: (…, action_dim), in [-1, 1].
        rewards: (…).
        next_observations: (…, observation_dim).
        terminations: 1 if the environment ended the episode, else 0: (…).
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminations: Tensor


def whole_episodes(episodes: list[Episode], device: str = "cpu") -> Transitions:
    """All transitions of some episodes, in order: (Σ T, …)."""
    ended = [
        np.arange(len(e)) == len(e) - 1 if e.terminated else np.zeros(len(e)) for e in episodes
    ]
    arrays = (
        np.concatenate([e.observations[:-1] for e in episodes]),
        np.concatenate([e.actions for e in episodes]),
        np.concatenate([e.rewards for e in episodes]),
        np.concatenate([e.observations[1:] for e in episodes]),
        np.concatenate(ended).astype(np.float32),
    )
    return Transitions(*(torch.from_numpy(array).to(device) for array in arrays))


def one_task(batch: Transitions) -> Transitions:
    """Transitions (n, …) as those of one task, (1, n, …)."""
    return Transitions(*(part.unsqueeze(0) for part in vars(batch).values()))


def rows_of(batch: Transitions, rows: Tensor) -> Transitions:
    """The transitions at some rows of (n, …)."""
    return Transitions(*(part[rows] for part in vars(batch).values()))


def joined(one: Transitions, other: Transitions) -> Transitions:
    """Transitions (n, …) and (m, …) as (n + m, …)."""
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return Transitions(*(torch.cat(pair) for pair in pairs))

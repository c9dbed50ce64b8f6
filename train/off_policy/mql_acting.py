"""How MQL acts in training, and in meta-episodes of a test task."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from train.config.off_policy import MqlSettings
from train.off_policy.collection import Sizes
from train.off_policy.episodes import Episode
from train.off_policy.evaluation import EpisodeActor
from train.off_policy.td3 import TD3, HistoryActor

Array = NDArray[Any]


class MqlParts(Protocol):
    """The parts of the learner needed to act."""

    config: MqlSettings
    sizes: Sizes
    device: str
    rng: np.random.Generator
    td3: TD3

    @property
    def columns(self) -> int:
        """Number of columns of a step in the history."""

    @property
    def adapts(self) -> bool:
        """Whether to adapt the networks to a test task."""

    def adapt(self, episodes: list[Episode], row: int = 0) -> TD3:
        """Networks adapted to the task of some episodes."""


class Histories:
    """The last steps of each row, in the format of :meth:`TaskReplay.windows`.

    Args:
        length: Number of steps to keep.
        n: Number of rows.
        columns: Number of columns of a step: action, reward and observation.
    """

    def __init__(self, length: int, n: int, columns: int) -> None:
        self.windows = np.zeros((length, n, columns), np.float32)

    def forget(self, row: int) -> None:
        """Clear the history of a row, at the start of an episode."""
        self.windows[:, row] = 0.0

    def add(self, actions: Array, rewards: Array, observations: Array) -> None:
        """Add a step of all rows."""
        self.windows[:-1] = self.windows[1:].copy()
        self.windows[-1] = np.concatenate([actions, rewards[:, None], observations], axis=1)


class MqlExploration:
    """Behaviour of training episodes: random, or the actor with Gaussian noise."""

    def __init__(self, learner: MqlParts, random: bool) -> None:
        self.learner, self.random = learner, random
        n = learner.config.n_workers
        self.histories = Histories(learner.config.history_length, n, learner.columns)

    def begin_episode(self, row: int, episode: int) -> None:
        self.histories.forget(row)

    def act(self, observations: NDArray[np.float32]) -> Array:
        learner = self.learner
        shape = (len(observations), learner.sizes.action_dim)
        if self.random:
            return learner.rng.uniform(-1.0, 1.0, shape).astype(np.float32)
        actions = greedy(learner.td3.actor, observations, self.histories.windows, learner.device)
        noise = learner.config.exploration_noise * learner.rng.standard_normal(shape, np.float32)
        return np.clip(actions + noise, -1.0, 1.0)

    def observe(self, actions: Array, rewards: Array, observations: Array) -> None:
        self.histories.add(actions, rewards, observations)


@torch.no_grad()
def greedy(actor: HistoryActor, observations: Array, windows: Array, device: str) -> Array:
    """Actions of a network, (n, action_dim)."""
    rows, before = torch.from_numpy(observations), torch.from_numpy(windows)
    return np.asarray(actor(rows.to(device), before.to(device)).cpu().numpy())


class MqlActor(EpisodeActor):
    """The deterministic actor, adapted to the row's task in the last episode.

    Args:
        learner: The learner whose networks act; they are never changed.

    Attributes:
        adapted: The adapted networks of each row, ``None`` before its last episode.
    """

    def __init__(self, learner: MqlParts) -> None:
        super().__init__(learner.sizes)
        self.learner = learner
        self.adapted: list[TD3 | None] = []
        self._histories = Histories(learner.config.history_length, 0, learner.columns)

    def begin(self, n: int) -> None:
        """Start ``n`` meta-episodes."""
        super().begin(n)
        self.adapted = [None] * n
        learner = self.learner
        self._histories = Histories(learner.config.history_length, n, learner.columns)

    def begin_episode(self, row: int, episode: int) -> None:
        """Clear the history; before the last episode, adapt the networks."""
        learner = self.learner
        self._histories.forget(row)
        self.adapted[row] = None
        if episode == learner.config.n_episodes - 1 and learner.adapts:
            self.adapted[row] = learner.adapt(self.episodes[row], row)

    def actions(self, observations: NDArray[np.float32]) -> Array:
        """Deterministic actions in [-1, 1]."""
        device, windows = self.learner.device, self._histories.windows
        actions = greedy(self.learner.td3.actor, observations, windows, device)
        for row, td3 in enumerate(self.adapted):
            if td3 is not None:
                one = slice(row, row + 1)
                actions[row] = greedy(td3.actor, observations[one], windows[:, one], device)[0]
        return actions

    def observe_rows(self, observations: Array, actions: Array, rewards: Array) -> None:
        """Add the step to the history."""
        self._histories.add(actions, rewards, observations)

"""Group the steps of a batch of environments into whole episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.meta_gradient.episodes import Episodes

BoolArray = NDArray[np.bool_]


class EpisodeRecorder:
    """Records up to ``n_episodes`` consecutive episodes of each row, and ignores later steps.

    Args:
        n: Number of rows.
        n_episodes: Number of episodes to record per row.
        length: Expected number of steps of an episode; longer ones allocate more memory.

    Attributes:
        episode: Episode that the next step of each row belongs to, int64 (n,).
    """

    def __init__(self, n: int, n_episodes: int, length: int) -> None:
        self.n_episodes = n_episodes
        self.episode = np.zeros(n, np.int64)
        self._step = np.zeros(n, np.int64)
        self._shape = (n, n_episodes, length)
        self._kept: dict[str, NDArray[Any]] = {}

    @property
    def running(self) -> BoolArray:
        """Rows that have episodes left to record, (n,)."""
        return np.asarray(self.episode < self.n_episodes)

    def add(
        self,
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[Any],
        ended: BoolArray,
    ) -> None:
        """Record one step.

        Args:
            observations: Observations of the policy, (n, observation_size).
            actions: Its sampled actions, (n, action_dim) or (n,).
            rewards: (n,).
            ended: Whether an episode ended with the step, (n,).
        """
        rows = np.flatnonzero(self.running)
        at = rows, self.episode[rows], self._step[rows]
        if len(rows) and at[2].max() >= self._shape[2]:
            self._lengthen()
        given = {"observations": observations, "actions": actions, "rewards": rewards}
        given["rewards"] = np.asarray(rewards, np.float64)
        given["mask"] = np.ones(len(rewards), bool)
        for name, values in given.items():
            if name not in self._kept:
                self._kept[name] = np.zeros((*self._shape, *values.shape[1:]), values.dtype)
            self._kept[name][at] = values[rows]
        self._step[rows] += 1
        self._step[ended] = 0
        self.episode[ended & self.running] += 1

    def forget(self, rows: BoolArray) -> None:
        """Discard the episodes of some rows (n,)."""
        self.episode[rows] = 0
        self._step[rows] = 0
        if self._kept:
            self._kept["mask"][rows] = False

    def episodes(self, rows: BoolArray | None = None) -> Episodes:
        """The episodes of some rows (n,), by default of all: (n_rows, n_episodes, H).

        H is the length of the longest episode.
        """
        chosen: Any = slice(None) if rows is None else rows
        mask = self._kept["mask"][chosen]
        longest = int(mask.sum(-1).max())
        kept = {name: values[chosen, :, :longest] for name, values in self._kept.items()}
        kept["rewards"] = kept["rewards"] * kept["mask"]  # of rows that started over
        return Episodes(**kept)

    def _lengthen(self) -> None:
        n, n_episodes, length = self._shape
        self._shape = (n, n_episodes, 2 * length)
        for name, values in self._kept.items():
            self._kept[name] = np.concatenate([values, np.zeros_like(values)], axis=2)

"""First meta-episodes of different lengths, so that workers are in different phases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ldm_wrappers.vector.infos import BoolArray

IntArray = NDArray[np.int64]


class Stagger:
    """Counts down to the steps at which first meta-episodes are cut.

    Args:
        first_lengths: Steps of each worker's first meta-episode, int64 (num_envs,); 0: not cut.

    Attributes:
        remaining: Steps until the running meta-episode is cut, int64 (num_envs,); 0: not cut.
    """

    def __init__(self, first_lengths: IntArray) -> None:
        self._first_lengths = first_lengths
        self.remaining = first_lengths.copy()

    def reset(self, mask: BoolArray) -> None:
        """Begin new meta-episodes in ``mask``; only a reset of all workers staggers again."""
        self.remaining[mask] = 0
        if mask.all():
            self.remaining = self._first_lengths.copy()

    def step(self) -> BoolArray:
        """Where this step is the last one of a meta-episode that is cut, bool (num_envs,)."""
        cut = self.remaining == 1
        self.remaining -= self.remaining > 0
        return cut


def spread_lengths(num_envs: int, n_episodes: int, limit: int | None) -> IntArray:
    """Lengths of first meta-episodes, evenly spread; 0 (not cut) for the last worker.

    Args:
        num_envs: Number of workers.
        n_episodes: N, episodes of a meta-episode.
        limit: H, maximum number of steps of an episode.

    Raises:
        ValueError: H is not known.
    """
    if limit is None:
        raise ValueError(
            "stagger=True needs environments that declare max_episode_steps; wrap each in "
            "gymnasium.wrappers.TimeLimit, register it with a step limit, or set .spec of an "
            "AsyncVectorEnv, which does not know the limits in its processes"
        )
    lengths = np.maximum(1, n_episodes * limit * np.arange(1, num_envs + 1) // num_envs)
    lengths[-1] = 0
    return lengths

"""Draw the tasks of an iteration."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def draw_tasks(task_set: Any, rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """``n`` tasks of a task set, (n, task_dim).

    Tasks of a finite set appear equally often, up to a difference of one, so an iteration with 18
    tasks trains on each of GridNavi's 18 train goals once.

    Args:
        task_set: A split of a ``task_distribution``.
        rng: Generator to draw from.
        n: Number of tasks.
    """
    known = task_set.tasks
    if known is None:
        return np.asarray(task_set.sample(rng, n), np.float32)
    rounds = -(-n // len(known))
    order = np.concatenate([rng.permutation(len(known)) for _ in range(rounds)])
    return np.asarray(known[order[:n]], np.float32)

"""Which tasks an iteration trains on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def draw_tasks(task_set: Any, rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """``n`` tasks of a task set, (n, task_dim).

    A finite set is dealt out: the numbers of times that its tasks appear differ by at most one, so
    an iteration of 18 tasks trains on each of GridNavi's 18 train goals once.

    Args:
        task_set: A split of a ``task_distribution``.
        rng: Where tasks are drawn from.
        n: Number of tasks.
    """
    known = task_set.tasks
    if known is None:
        return np.asarray(task_set.sample(rng, n), np.float32)
    rounds = -(-n // len(known))
    order = np.concatenate([rng.permutation(len(known)) for _ in range(rounds)])
    return np.asarray(known[order[:n]], np.float32)

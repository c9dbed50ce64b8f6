"""Warns of test tasks that are also train tasks."""

from __future__ import annotations

import warnings

import numpy as np

from ldm_envs.task_sets import FloatArray, TaskSet
from ldm_envs.tasks import TaskDistribution

_MANY = 100_000  # pairs of tasks, above which only exactly equal tasks are found
_DRAWN = 64  # tasks that represent a set, if one of the two is continuous


def warn_of_shared_tasks(distribution: TaskDistribution, *, stacklevel: int = 2) -> None:
    """Warn if a split other than "train" and "all" contains tasks of "train".

    Args:
        distribution: The family's task sets. Two finite sets are compared task by task, with the
            periods and the tolerance of "train" unless they are large; otherwise 64 fixed draws
            are looked up.
        stacklevel: As in `warnings.warn`.
    """
    if "train" not in distribution:
        return
    for split in distribution.splits:
        if split in ("train", "all"):
            continue
        shared, compared = _shared(distribution["train"], distribution[split])
        if shared:
            warnings.warn(
                f'split {split!r} shares {len(shared)} of {compared} tasks with "train" (such as '
                f"{shared[0].tolist()}), so returns on it say nothing about unseen tasks. Give the "
                "splits different tasks",
                stacklevel=stacklevel + 1,
            )


def _shared(train: TaskSet, other: TaskSet) -> tuple[list[FloatArray], int]:
    """Tasks of ``other`` that are in ``train``, and how many tasks were looked up."""
    if train.tasks is not None and other.tasks is not None:
        known = {task.tobytes() for task in train.tasks + np.float32(0.0)}  # -0.0 is 0.0
        rows = other.tasks + np.float32(0.0)
        inside = np.array([task.tobytes() in known for task in rows])
        if len(rows) * len(train.tasks) <= _MANY:
            inside |= train.contains(rows)
        return list(rows[inside]), len(rows)
    drawn = other.sample(np.random.default_rng(0), _DRAWN)
    return [task for task in drawn if train.contains(task)], len(drawn)

"""Splits: which hidden tasks a family has, as data.

A *task* is a float32 vector; a *task set* can be sampled from and asked whether it contains a
task; a `TaskDistribution` names the sets of one family ("train", "test", "eval", "all", ...).
Every split of every family is a value built from these classes; no code asks for a split by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ldm_envs.task_sets import (
    AnnulusTaskSet,
    FiniteTaskSet,
    FloatArray,
    IntervalTaskSet,
    TaskSet,
)

__all__ = [
    "AnnulusTaskSet",
    "FiniteTaskSet",
    "IntervalTaskSet",
    "TaskDistribution",
    "TaskSet",
    "UnknownSplitError",
    "same_tasks",
]


class UnknownSplitError(ValueError, KeyError):
    """A split that the family does not have (a ValueError; a KeyError for Mapping's sake)."""

    __str__ = Exception.__str__  # KeyError would show the repr of the message


class TaskDistribution(Mapping[str, TaskSet]):
    """The task sets of one family by split name.

    `distribution["train"]` is a `TaskSet`. The set "all" is required: it defines the
    family's valid tasks, which `validate` checks against.

    Args:
        sets: Split name -> task set, all of one `task_dim`.
        components: Name and unit of each component: ("x (cell)", "y (cell)"). Messages show them.
            Plots draw tasks as goal cells of a grid only if they have the two components above.

    Raises:
        ValueError: There is no set "all", or a set has tasks that are not as long as `components`
            or lie outside "all" (eight tasks of an infinite or a large set are checked).
    """

    def __init__(self, sets: Mapping[str, TaskSet], components: Sequence[str]) -> None:
        self._sets = dict(sets)
        self.components = tuple(components)
        self.task_dim = len(self.components)
        if "all" not in self._sets:
            raise ValueError(f'Expected a split named "all", got {sorted(self._sets)}')
        for name, task_set in self._sets.items():
            if task_set.task_dim != self.task_dim:
                raise ValueError(
                    f"Split {name!r} has tasks of length {task_set.task_dim}, "
                    f"expected {self.task_dim} for components {self.components}"
                )
        for name, task_set in self._sets.items():
            tasks = _some_tasks(task_set)
            if len(tasks) > 64:  # checking every task of a large set would take minutes
                tasks = tasks[np.linspace(0, len(tasks) - 1, 8).astype(int)]
            outside = tasks[~np.asarray(self._sets["all"].contains(tasks))]
            if len(outside):
                raise ValueError(
                    f'Split {name!r} has tasks that are not in the set "all": '
                    f'{outside[:5].tolist()}; expected "all" to be the union of the splits'
                )

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the task sets."""
        return tuple(self._sets)

    def __getitem__(self, split: str) -> TaskSet:
        """The task set of `split`; an unknown name is a ValueError that lists the known ones."""
        if split not in self:
            known = ", ".join(repr(name) for name in self._sets)
            raise UnknownSplitError(f"Unknown split {split!r}, expected one of: {known}")
        return self._sets[split]

    def __contains__(self, split: object) -> bool:
        return isinstance(split, str) and split in self._sets

    def __iter__(self) -> Iterator[str]:
        return iter(self._sets)

    def __len__(self) -> int:
        return len(self._sets)

    def validate(self, task: ArrayLike, leading_shape: tuple[int, ...] = ()) -> FloatArray:
        """Check tasks and return them as a fresh float32 array.

        Args:
            task: Array-like of shape `leading_shape + (task_dim,)`.
            leading_shape: Shape before the task axis; () is one task.

        Returns:
            float32 array of shape `leading_shape + (task_dim,)`.

        Raises:
            ValueError: If the shape differs, a value is not a finite number, or a task lies
                outside the set "all". The message shows the value.
        """
        expected = (*leading_shape, self.task_dim)
        components = ", ".join(self.components)
        try:
            array = np.array(task, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Expected a numeric task ({components}) of shape {expected}, got {task!r}"
            ) from error
        if array.shape != expected:
            raise ValueError(
                f"Expected a task ({components}) of shape {expected}, "
                f"got shape {array.shape}: {task!r}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"Expected a finite task ({components}), got {task!r}")
        inside = np.asarray(self._sets["all"].contains(array))
        if not inside.all():
            bad = array.reshape(-1, self.task_dim)[~inside.reshape(-1)]
            raise ValueError(
                f'Task ({components}) outside the set "all" of the family: {bad.tolist()}; '
                "expected a task that some split contains"
            )
        return array


def same_tasks(one: TaskSet, other: TaskSet) -> bool:
    """Whether two sets have the same tasks; infinite ones are compared by eight draws."""
    if one is other:
        return True
    if (one.tasks is None) != (other.tasks is None):
        return False
    return np.array_equal(_some_tasks(one), _some_tasks(other))


def _some_tasks(task_set: TaskSet) -> FloatArray:
    """All tasks of a finite set, or eight draws from an infinite one, float32 (n, task_dim)."""
    tasks = task_set.tasks
    return task_set.sample(np.random.default_rng(0), 8) if tasks is None else tasks

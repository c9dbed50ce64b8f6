"""The split that an environment draws its tasks from, fixed when it is made."""

from __future__ import annotations

from typing import NoReturn

from ldm_envs.tasks import TaskDistribution, TaskSet


class DrawsFromSplit:
    """Mixin of environments whose resets draw tasks of one split.

    The split cannot be changed: an environment's `spec` and its copies are of the split that it
    was made with.
    """

    _task_set: TaskSet
    _split: str

    def _choose_split(self, distribution: TaskDistribution, split: str) -> None:
        """Draw from `split` from now on; a `ValueError` if the family has none of that name."""
        self._task_set = distribution[split]
        self._split = split

    @property
    def split(self) -> str:
        """Name of the set that tasks are drawn from; setting it is an `AttributeError`."""
        return self._split

    @split.setter
    def split(self, value: object) -> NoReturn:
        raise AttributeError(
            f"split is fixed when an environment is made: got {value!r} for one of {self._split!r}."
            f" Make another one with split={value!r}, or choose tasks at "
            'reset(options={"task": …})'
        )

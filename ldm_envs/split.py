"""The split that an environment draws its tasks from, fixed when it is made."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from ldm_envs.task_sets import FloatArray, TaskSet
from ldm_envs.tasks import TaskDistribution


class DrawsFromSplit:
    """Mixin of environments whose resets draw tasks of one split.

    The split cannot be changed: an environment's `spec` and its copies have the split that it
    was made with.
    """

    _split: str | None = None

    def _set_split(self, split: str) -> None:
        """Set the split to draw tasks from; constructors call this once.

        Raises:
            ValueError: The family has no set of that name.
        """
        self._sets()[split]
        self._split = split

    def _sets(self) -> TaskDistribution:
        return self.task_distribution  # type: ignore[attr-defined]

    @property
    def _task_set(self) -> TaskSet:
        return self._sets()[self.split]

    def _draw_task(self, rng: np.random.Generator) -> FloatArray:
        """A task of the split, float32 (task_dim,), even if a set of one's own draws float64."""
        return np.array(self._task_set.sample(rng, 1)[0], np.float32)

    @property
    def split(self) -> str:
        """Name of the set that tasks are drawn from; setting it is an `AttributeError`."""
        if self._split is None:
            raise AttributeError("no split yet: call self._set_split(split) in the constructor")
        return self._split

    @split.setter
    def split(self, value: object) -> NoReturn:
        if self._split is None:
            raise AttributeError("call self._set_split(split) instead of setting self.split")
        raise AttributeError(
            f"split is fixed when an environment is made: expected {self._split!r}, got "
            f"{value!r}. Make another one with split={value!r}, or choose tasks at "
            'reset(options={"task": …})'
        )

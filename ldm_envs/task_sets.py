"""Sets of hidden tasks, which can be sampled from and asked whether they contain a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

# Tasks are float32, whose relative spacing is 1.2e-7. The tolerance accepts a few roundings (for
# instance an angle converted from degrees in float32), but no value meant as another task.
FINITE_SET_TOLERANCE = 1e-5
_PAIRS_AT_ONCE = 1_000_000  # (task, member of a set) pairs compared in one array


class TaskSet(ABC):
    """A set of task vectors of length `task_dim`."""

    task_dim: int

    @property
    def tasks(self) -> FloatArray | None:
        """All tasks, float32 (n_tasks, task_dim), a fresh array; None where the set is infinite."""
        return None

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Draw `n` independent tasks from `rng`.

        Returns:
            A fresh float32 array (n, task_dim), every row in the set.
        """

    @abstractmethod
    def _contains(self, tasks: NDArray[np.float64]) -> BoolArray:
        """Membership of finite float64 tasks (..., task_dim)."""

    def contains(self, task: ArrayLike) -> Any:
        """Whether `task` lies in the set.

        Args:
            task: (..., task_dim); it is compared after rounding to float32, which is what an
                environment would use.

        Returns:
            A bool for one task, a bool array of shape (...) for several. Non-finite tasks are in
            no set.

        Raises:
            ValueError: If the last axis is not `task_dim` long.
        """
        array = np.asarray(task, dtype=np.float32)
        if array.ndim == 0 or array.shape[-1] != self.task_dim:
            raise ValueError(
                f"Expected tasks of shape (..., {self.task_dim}), got shape {array.shape}: {task!r}"
            )
        finite = np.asarray(np.isfinite(array).all(axis=-1))
        inside = finite & self._contains(np.where(finite[..., None], array, 0).astype(np.float64))
        return bool(inside) if array.ndim == 1 else inside


class FiniteTaskSet(TaskSet):
    """Finitely many tasks, sampled uniformly.

    Args:
        tasks: (n_tasks, task_dim).
        period: Per component, the period it is compared modulo (2*pi for an angle), or None.
        tolerance: Largest difference per component that still counts as the same task.

    Raises:
        ValueError: For an invalid argument; the message shows it.
    """

    def __init__(
        self,
        tasks: ArrayLike,
        period: Sequence[float | None] | None = None,
        tolerance: float = FINITE_SET_TOLERANCE,
    ) -> None:
        if not 0.0 <= tolerance < np.inf:
            raise ValueError(f"Expected a tolerance of at least 0, got {tolerance!r}")
        self._tolerance = tolerance
        self._tasks = np.array(tasks, dtype=np.float32)
        if self._tasks.ndim != 2 or len(self._tasks) == 0:
            raise ValueError(f"Expected tasks of shape (n_tasks >= 1, task_dim), got {tasks!r}")
        if not np.isfinite(self._tasks).all():
            raise ValueError(f"Expected tasks that are finite in float32, got {tasks!r}")
        self.task_dim = self._tasks.shape[1]
        periods = period if period is not None else [None] * self.task_dim
        if len(periods) != self.task_dim:
            raise ValueError(f"Expected {self.task_dim} periods, got {period!r}")
        self._period = np.array([np.inf if p is None else p for p in periods])
        if not (self._period > 0).all():
            raise ValueError(f"Expected periods that are positive or None, got {period!r}")

    @property
    def tasks(self) -> FloatArray:
        return self._tasks.copy()

    def sample(self, rng: np.random.Generator, n: int) -> FloatArray:
        if n == 1:  # as at every reset; a scalar draw takes a third of the time
            return self._tasks[rng.integers(len(self._tasks)), None].copy()
        return self._tasks[rng.integers(len(self._tasks), size=n)]

    def _contains(self, tasks: NDArray[np.float64]) -> BoolArray:
        rows, n = tasks.reshape(-1, self.task_dim), max(1, _PAIRS_AT_ONCE // len(self._tasks))
        parts = [self._near(rows[begin : begin + n]) for begin in range(0, len(rows), n)]
        return np.concatenate([np.zeros(0, np.bool_), *parts]).reshape(tasks.shape[:-1])

    def _near(self, tasks: NDArray[np.float64]) -> BoolArray:
        """Membership of tasks (n, task_dim)."""
        gap = np.abs(tasks[:, None, :] - self._tasks.astype(np.float64))
        wrapped = np.where(np.isinf(self._period), gap, np.mod(gap, self._period))
        # |gap| modulo the period, on the circle: 359.99 degrees is next to 0.
        distance = np.minimum(wrapped, self._period - wrapped)
        inside: BoolArray = np.asarray((distance <= self._tolerance).all(axis=-1).any(axis=-1))
        return inside


class IntervalTaskSet(TaskSet):
    """A union of half-open intervals [low, high) of the real line (task_dim 1).

    Args:
        intervals: (low, high) pairs, disjoint.
        weights: Probability of each interval, summing to 1; None draws uniformly by length.

    Raises:
        ValueError: For invalid intervals or weights; the message shows them.
    """

    task_dim = 1

    def __init__(
        self, intervals: Sequence[tuple[float, float]], weights: Sequence[float] | None = None
    ) -> None:
        self._low, self._high = _bounds(intervals)
        mass = self._high - self._low
        if weights is not None:
            mass = np.asarray(weights, dtype=np.float64)
            positive = np.isfinite(mass).all() and (mass > 0).all()
            if mass.shape != self._low.shape or not positive or not np.isclose(mass.sum(), 1.0):
                raise ValueError(
                    f"Expected {len(self._low)} positive weights that sum to 1, got {weights!r}"
                )
        self._edges = _cumulative(mass)

    def sample(self, rng: np.random.Generator, n: int) -> FloatArray:
        which = np.searchsorted(self._edges, rng.random(n), side="right")
        low, high = self._low[which], self._high[which]
        return _round_into(low + rng.random(n) * (high - low), low, high)[:, None]

    def _contains(self, tasks: NDArray[np.float64]) -> BoolArray:
        return np.asarray(((self._low <= tasks) & (tasks < self._high)).any(axis=-1))


class AnnulusTaskSet(TaskSet):
    """A union of annuli around the origin, in polar coordinates (r, theta), uniform over area.

    r lies in one of the half-open intervals, theta in [0, 2*pi) radians.

    Args:
        intervals: (inner, outer) radii, disjoint, in metres.

    Raises:
        ValueError: For invalid intervals; the message shows them.
    """

    task_dim = 2

    def __init__(self, intervals: Sequence[tuple[float, float]]) -> None:
        self._low, self._high = _bounds(intervals)
        if self._low.min() < 0:
            raise ValueError(f"Expected radii of at least 0, got {intervals!r}")
        self._edges = _cumulative(self._high**2 - self._low**2)

    def sample(self, rng: np.random.Generator, n: int) -> FloatArray:
        which = np.searchsorted(self._edges, rng.random(n), side="right")
        low, high = self._low[which], self._high[which]
        # The area within radius r grows with r**2, so r**2 is uniform.
        radius = np.sqrt(low**2 + rng.random(n) * (high**2 - low**2))
        angle = rng.random(n) * (2 * np.pi)
        circle = np.full(n, 2 * np.pi)
        return np.stack(
            [_round_into(radius, low, high), _round_into(angle, np.zeros(n), circle)], axis=-1
        )

    def _contains(self, tasks: NDArray[np.float64]) -> BoolArray:
        radius, angle = tasks[..., :1], tasks[..., 1]
        in_radius = np.asarray(((self._low <= radius) & (radius < self._high)).any(axis=-1))
        return in_radius & (angle >= 0) & (angle < 2 * np.pi)


class UnionTaskSet(TaskSet):
    """The union of several task sets.

    Finite sets are sampled from uniformly over all tasks; otherwise each set is equally likely.

    Args:
        sets: At least one task set, all of one `task_dim`.

    Raises:
        ValueError: For sets of different `task_dim`, or no sets.
    """

    def __init__(self, sets: Sequence[TaskSet]) -> None:
        dims = {one.task_dim for one in sets}
        if len(dims) != 1:
            raise ValueError(f"Expected task sets of one task_dim, got {sorted(dims)}")
        self._sets = tuple(sets)
        self.task_dim = dims.pop()
        rows = [one.tasks for one in sets]
        finite = [array for array in rows if array is not None]
        self._rows = np.unique(np.concatenate(finite), axis=0) if len(finite) == len(rows) else None

    @property
    def tasks(self) -> FloatArray | None:
        return None if self._rows is None else self._rows.copy()

    def sample(self, rng: np.random.Generator, n: int) -> FloatArray:
        if self._rows is not None:
            return self._rows[rng.integers(len(self._rows), size=n)]
        which = rng.integers(len(self._sets), size=n)
        rows = np.empty((n, self.task_dim), np.float32)
        for index, one in enumerate(self._sets):
            chosen = which == index
            rows[chosen] = one.sample(rng, int(chosen.sum()))
        return rows

    def _contains(self, tasks: NDArray[np.float64]) -> BoolArray:
        return np.any([one.contains(tasks) for one in self._sets], axis=0)


def _bounds(
    intervals: Sequence[tuple[float, float]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pairs = np.array(intervals, dtype=np.float64)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or not np.isfinite(pairs).all():
        raise ValueError(f"Expected (low, high) pairs of finite numbers, got {intervals!r}")
    low, high = pairs.T
    ordered = pairs[low.argsort()].ravel()
    if not (low < high).all() or (ordered[1:] < ordered[:-1]).any():
        raise ValueError(f"Expected disjoint intervals with low < high, got {intervals!r}")
    return low, high


def _cumulative(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper edges of the weights on [0, 1), without the last one, which is 1."""
    return np.cumsum(mass / mass.sum())[:-1]


def _round_into(
    values: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> FloatArray:
    """Round to float32 without leaving [low, high): rounding up may land on `high` itself."""
    rounded = values.astype(np.float32)
    too_high = rounded.astype(np.float64) >= high
    too_low = rounded.astype(np.float64) < low
    rounded = np.where(too_high, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return np.where(too_low, np.nextafter(rounded, np.float32(np.inf)), rounded)

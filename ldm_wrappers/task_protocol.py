"""Detects environments whose hidden task changes within a meta-episode, or never changes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldm_wrappers.infos import copied

Array = NDArray[Any]

N_EQUAL_TASKS = 32
"""Number of meta-episodes of the same task before :class:`TaskWatch` warns: even with only two
equally likely tasks, drawing one this often in a row has a probability of 5e-10."""

_REMEDY = (
    "ldm_envs.TaskMethodWrapper, TaskAttributeWrapper or TaskSeedWrapper around each environment "
    "makes it keep its task, and ldm_envs.check_family tests a family of your own"
)


class TaskChangedError(RuntimeError):
    """The task changed within a meta-episode."""


class TaskIgnoredError(ValueError):
    """An environment reports a task other than that given by ``reset(options={"task": …})``."""


class TaskProtocolWarning(UserWarning):
    """An environment reports no task, or the same one in all meta-episodes."""


class TaskWatch:
    """Checks the tasks in the infos of one or many workers, for ``MultiEpisodeWrapper``.

    Args:
        name: Name of the environment in messages.
        n_workers: Number of environments.
    """

    def __init__(self, name: str, n_workers: int) -> None:
        self.name = name
        self._tasks: Array = np.zeros((n_workers, 0))
        self._known = np.zeros(n_workers, bool)
        self._first: Any = None
        self._n_equal: int | None = 0  # None: tasks differ, or a warning has been given
        self._untold = False

    def begin(
        self, workers: Array, tasks: Array | None, options: dict[str, Any] | None = None
    ) -> None:
        """New meta-episodes begin.

        Args:
            workers: Indices (n,) of the workers.
            tasks: Their tasks (n, ...), or ``None`` if infos report none.
            options: Options of the reset. If they pin or keep the task, it does not count as drawn.

        Raises:
            TaskIgnoredError: Infos report a task other than the pinned one.
            TaskChangedError: Infos report a task other than the one to be kept.
        """
        options = options or {}
        keep = np.asarray(options.get("keep_task", False), bool)  # one for all, or one for each
        kept = np.broadcast_to(keep, len(self._known))[workers]
        if kept.any() and tasks is not None:
            self.check(workers[kept], tasks[kept])
        self._begin(workers, tasks, drawn=not {"task", "keep_task"} & options.keys())
        if "task" in options:
            check_pinned(self.name, options["task"], tasks, workers, len(self._known))

    def _begin(self, workers: Array, tasks: Array | None, *, drawn: bool) -> None:
        self._known[workers] = tasks is not None
        if tasks is None:
            self._warn_untold()
            return
        if self._tasks.shape[1:] != tasks.shape[1:] or self._tasks.dtype != tasks.dtype:
            self._tasks = np.zeros((len(self._known), *tasks.shape[1:]), tasks.dtype)
            self._known[:] = False
            self._known[workers] = True
        self._tasks[workers] = tasks = copied(tasks)  # an environment may change them in place
        if drawn and self._n_equal is not None:
            self._count(tasks)

    def check(self, workers: Array, tasks: Array | None) -> None:
        """Check the ``tasks`` (n, ...) of inner episodes of ``workers`` (n,) that end or begin.

        Raises:
            TaskChangedError: A task differs from the one that the meta-episode began with.
        """
        if tasks is None or self._tasks.shape[1:] != tasks.shape[1:]:
            return
        began = self._tasks[workers]
        if _alike(began, tasks):
            return
        for worker, old, new in zip(workers, began, tasks, strict=True):
            if self._known[worker] and not _alike(old, new):
                raise TaskChangedError(
                    f"the task of {self.name} (environment {worker}) changed inside a "
                    "meta-episode, or at a reset that was to keep it, "
                    f"from {old} to {new}: its reset ignores options={{'keep_task': "
                    "True}, or another environment's reset takes it out of the dict, which "
                    "SyncVectorEnv passes to all, or its task changes during an episode. "
                    f"{_REMEDY}"
                )

    def forget(self) -> None:
        """Forget the tasks of running meta-episodes, which began elsewhere (in a resumed run)."""
        self._known[:] = False

    def _count(self, tasks: Array) -> None:
        if self._first is None:
            self._first = tasks[0]
        assert self._n_equal is not None
        if not all(_alike(task, self._first) for task in tasks):
            self._n_equal = None
            return
        self._n_equal += len(tasks)
        if self._n_equal >= N_EQUAL_TASKS:
            self._n_equal = None
            warnings.warn(
                f"{N_EQUAL_TASKS} meta-episodes of {self.name} all had the task {self._first}, so "
                "there is nothing to mix or to adapt to: does its reset draw a task of the split? "
                f"{_REMEDY}",
                TaskProtocolWarning,
                stacklevel=1,
            )

    def _warn_untold(self) -> None:
        if not self._untold:
            self._untold = True
            warnings.warn(
                f"{self.name} reports no info['task'] at reset, so nothing can check that the "
                "episodes of a meta-episode share a task and that tasks vary. If it has a hidden "
                f"task: {_REMEDY}. If it has none, pass check_tasks=False",
                TaskProtocolWarning,
                stacklevel=1,
            )


def _alike(task: Any, other: Any) -> bool:
    """Whether two tasks are equal: arrays, objects, or dicts and lists of them."""
    if isinstance(task, dict) and isinstance(other, dict):
        return task.keys() == other.keys() and all(_alike(task[key], other[key]) for key in task)
    arrays = isinstance(task, np.ndarray) and isinstance(other, np.ndarray)
    if arrays and task.dtype == object and task.shape == other.shape:
        return all(map(_alike, task.ravel(), other.ravel()))
    if isinstance(task, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(task) == len(other) and all(map(_alike, task, other))
    return np.array_equal(task, other)


def check_pinned(
    name: str, pinned: Any, told: Array | None, workers: Array, n_workers: int
) -> None:
    """Compare the tasks given to a reset with those that infos report after it.

    Tasks that cannot be compared are accepted: none in infos, or a different shape or type.

    Args:
        name: Name of the environment in messages.
        pinned: ``options["task"]``: one task for all workers, or a row for each of ``n_workers``.
        told: Reported tasks (n, ...) of the workers that were reset, or ``None``.
        workers: Their indices (n,).
        n_workers: Number of all workers.

    Raises:
        TaskIgnoredError: They differ by more than rounding; the message shows both.
    """
    given = np.asarray(pinned)
    if told is None or told.dtype.kind not in "biuf" or given.dtype.kind not in "biuf":
        return
    if given.shape == (n_workers, *told.shape[1:]):
        given = given[workers]
    if given.size == told[:1].size:
        given = np.broadcast_to(given.reshape(told.shape[1:]), told.shape)
    if given.shape != told.shape:
        return
    alike = np.isclose(given, told, rtol=1e-4, atol=1e-4, equal_nan=True)
    if alike.all():
        return
    worker = int(np.flatnonzero(~alike.reshape(len(told), -1).all(axis=1))[0])
    raise TaskIgnoredError(
        f"{name} was reset with options={{'task': {given[worker]}}} and reports info['task'] = "
        f"{told[worker]}: its reset ignores or changes the given task. {_REMEDY}"
    )


def env_name(env: Any) -> str:
    """Id and class of an environment for messages: ``PointMaze-v3 (PointMazeEnv)``."""
    inner = env.unwrapped
    single = inner.envs[0] if getattr(inner, "envs", None) else inner  # SyncVectorEnv has them
    kind = type(single.unwrapped).__name__
    spec = getattr(env, "spec", None)
    return kind if spec is None else f"{spec.id} ({kind})"


def told_task(info: dict[str, Any]) -> Array | None:
    """The task of one environment's info as a batch of one; ``None`` if there is none."""
    if "task" not in info:
        return None
    task = info["task"]
    if isinstance(task, (np.ndarray, np.generic, int, float)):
        return np.asarray(task)[None]
    batch = np.empty(1, object)
    batch[0] = task
    return batch


def told_tasks(infos: dict[str, Any], workers: Array) -> Array | None:
    """The tasks of ``workers`` in a batch's infos; ``None`` unless all of them report one."""
    tasks, mask = infos.get("task"), infos.get("_task")
    if not isinstance(tasks, np.ndarray) or (mask is not None and not mask[workers].all()):
        return None
    return tasks[workers]


def check_pinned_rows(name: str, pinned: Any, infos: dict[str, Any], mask: Array) -> None:
    """:func:`check_pinned` for a batch, after a reset of the environments in ``mask``."""
    workers = np.flatnonzero(mask)
    check_pinned(name, pinned, told_tasks(infos, workers), workers, len(mask))

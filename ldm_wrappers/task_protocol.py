"""Notices environments whose episodes of one meta-episode are not of one hidden task."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

N_EQUAL_TASKS = 32
"""Meta-episodes of one and the same task before :class:`TaskWatch` warns: even of two equally
likely tasks, so many alike have a probability of 5e-10."""

_REMEDY = (
    "ldm_envs.TaskMethodWrapper, TaskAttributeWrapper or TaskSeedWrapper around each environment "
    "makes it keep its task, and ldm_envs.check_family tests a family of your own"
)


class TaskChangedError(RuntimeError):
    """Episodes of one meta-episode were of different tasks."""


class TaskProtocolWarning(UserWarning):
    """Whether an environment keeps and redraws its hidden task cannot be told, or it does not."""


class TaskWatch:
    """What ``MultiEpisodeWrapper`` looks at: the tasks that infos tell, of one or many workers.

    Args:
        name: What messages call the environment.
        n_workers: Number of environments.
    """

    def __init__(self, name: str, n_workers: int) -> None:
        self.name = name
        self._tasks: list[Any] = [None] * n_workers
        self._first: Any = None
        self._n_equal: int | None = 0  # None: tasks differ, or a warning has been given
        self._told = True

    def begin(self, workers: Any, tasks: Any, drawn: bool) -> None:
        """New meta-episodes of ``workers`` begin with ``tasks``, one each (``None``: not told).

        Args:
            workers: Indices of the workers.
            tasks: Their tasks in the same order, or ``None`` where infos tell none.
            drawn: Whether the environment drew them (a pinned task says nothing about draws).
        """
        if tasks is None:
            self._warn_untold()
            for worker in workers:
                self._tasks[worker] = None
            return
        for worker, task in zip(workers, tasks, strict=True):
            self._tasks[worker] = np.array(task)
            if drawn and self._n_equal is not None:
                self._count(self._tasks[worker])

    def check(self, workers: Any, tasks: Any) -> None:
        """Inner episodes of ``workers`` end or begin with ``tasks``.

        Raises:
            TaskChangedError: A task is not the one that the meta-episode began with.
        """
        if tasks is None:
            return
        for worker, task in zip(workers, tasks, strict=True):
            began = self._tasks[worker]
            if began is not None and not np.array_equal(began, task):
                raise TaskChangedError(
                    f"the task of {self.name} (environment {worker}) changed inside a "
                    f"meta-episode, from {began} to {np.asarray(task)}: its reset ignores "
                    f"options={{'keep_task': True}}, or its task moves during an episode. {_REMEDY}"
                )

    def _count(self, task: Any) -> None:
        if self._n_equal == 0:
            self._first = task
        elif not np.array_equal(task, self._first):
            self._n_equal = None
            return
        assert self._n_equal is not None
        self._n_equal += 1
        if self._n_equal == N_EQUAL_TASKS:
            self._n_equal = None
            warnings.warn(
                f"{N_EQUAL_TASKS} meta-episodes of {self.name} all had the task {task}, so there "
                "is nothing to mix or to adapt to: does its reset draw a task of the split? "
                f"{_REMEDY}",
                TaskProtocolWarning,
                stacklevel=1,
            )

    def _warn_untold(self) -> None:
        if self._told:
            self._told = False
            warnings.warn(
                f"{self.name} tells no info['task'] at reset, so nothing can check that episodes "
                "of a meta-episode share a task and that meta-episodes differ. If it has a hidden "
                f"task: {_REMEDY}. If it has none, pass check_tasks=False",
                TaskProtocolWarning,
                stacklevel=1,
            )


def env_name(env: Any) -> str:
    """Id and class of an environment for messages: ``PointMaze-v3 (PointMazeEnv)``."""
    kind = type(env.unwrapped).__name__
    spec = getattr(env, "spec", None)
    return kind if spec is None else f"{spec.id} ({kind})"

"""Tasks of any kind as float32 vectors, for third-party environments.

Reset options, infos, evaluations and result tables represent tasks as float32 vectors. `TaskTable`
maps whatever an environment takes (numbers, arrays, strings, objects) to such vectors and back.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldm_envs.split_overlap import warn_of_shared_tasks
from ldm_envs.task_sets import FiniteTaskSet, FloatArray, TaskSet, UnionTaskSet
from ldm_envs.tasks import TaskDistribution

Tasks = Mapping[str, TaskSet | Iterable[Any]]
_INDEX = ["task index"]


class TaskTable:
    """The splits of a family whose tasks may be anything, and a vector for each task.

    Numbers, and equally long lists or arrays of numbers, become vectors of these numbers. Other
    tasks, and numbers that float32 cannot tell apart, become their index in order of
    first appearance, float32 (1,).

    Args:
        splits: Split name -> its tasks: a list (any iterable) or a `TaskSet`. If there is no
            set "all", the union of the splits is added.
        components: Name and unit of each component of a task vector, for messages and tables; not
            used for numbers that are replaced by their index.

    Attributes:
        distribution: The splits as a `TaskDistribution`.

    Raises:
        ValueError: If there are no splits, one is empty, or tasks have different lengths.
    """

    def __init__(self, splits: Tasks, components: Sequence[str] | None = None) -> None:
        if not isinstance(splits, Mapping) or not splits:
            raise ValueError(
                'Expected a dict of tasks by split, such as {"train": [...], "test": [...]}, '
                f"got {splits!r}"
            )
        self._objects: dict[bytes, Any] = {}
        if any(isinstance(tasks, TaskSet) for tasks in splits.values()):
            sets = {name: _as_set(name, tasks) for name, tasks in splits.items()}
            names = [f"task[{i}]" for i in range(next(iter(sets.values())).task_dim)]
        else:
            lists = {name: _listed(name, tasks) for name, tasks in splits.items()}
            sets, names, are_numbers = self._from_lists(lists)
            if are_numbers and names == _INDEX:  # the components are not those of an index
                components = None
        if "all" not in sets:
            sets["all"] = UnionTaskSet(list(sets.values()))
        self.distribution = TaskDistribution(sets, tuple(components or names))
        warn_of_shared_tasks(self.distribution, stacklevel=4)

    def _from_lists(
        self, lists: dict[str, list[Any]]
    ) -> tuple[dict[str, TaskSet], list[str], bool]:
        """Sets of vectors, names of their components, and whether tasks are numbers."""
        every = [task for tasks in lists.values() for task in tasks]
        matrix = _numbers(every)
        if matrix is None:
            keys = [content_key(task) for task in every]
        else:
            keys = [row.tobytes() for row in matrix + 0.0]
        order = {key: rank for rank, key in enumerate(dict.fromkeys(keys))}
        names = _INDEX
        vectors = np.array([[order[key]] for key in keys], np.float32)
        if matrix is not None:
            with np.errstate(over="ignore"):
                rounded = matrix.astype(np.float32) + np.float32(0.0)
            if np.isfinite(rounded).all() and len(np.unique(rounded, axis=0)) == len(order):
                vectors, names = rounded, [f"task[{i}]" for i in range(matrix.shape[1])]
        for vector, task in zip(vectors, every, strict=True):
            self._objects.setdefault(vector.tobytes(), _copied(task))
        sets: dict[str, TaskSet] = {}
        begin = 0
        for name, tasks in lists.items():
            rows = vectors[begin : begin + len(tasks)]
            sets[name] = FiniteTaskSet(rows, tolerance=0.0)
            begin += len(tasks)
        are_numbers = matrix is not None or all(
            isinstance(task, int | float | np.number) for task in every
        )
        return sets, names, are_numbers

    def task(self, vector: FloatArray) -> Any:
        """The task to give to the environment for a task vector of the set "all".

        Listed tasks are returned as they were listed: arrays, containers and dataclasses as copies,
        since an environment may change them in place. If a split is a `TaskSet`, tasks are floats
        for `task_dim` 1, else float32 arrays (task_dim,).
        """
        if self._objects:
            key = (np.asarray(vector, np.float32) + np.float32(0.0)).tobytes()
            return _copied(self._objects[key])
        return float(vector[0]) if len(vector) == 1 else np.array(vector, np.float32)


def _copied(task: Any) -> Any:
    """A task with copies of its arrays, containers and dataclasses, which can be changed in place.

    Other objects are passed on as they are: only their owner knows how to copy them.
    """
    if isinstance(task, (np.ndarray, set)):
        return task.copy()
    if type(task) is tuple or (isinstance(task, tuple) and hasattr(task, "_make")):  # namedtuple
        return getattr(task, "_make", tuple)(_copied(value) for value in task)
    fields = _fields(task)
    if not isinstance(task, (dict, list)) and fields is None:
        return task
    copied = _shallow_copy(task)
    try:
        if isinstance(copied, dict):
            copied.update((name, _copied(value)) for name, value in task.items())
            if getattr(task, "__dict__", None) is task:  # its items are its attributes
                copied.__dict__ = copied
        elif isinstance(copied, list):
            copied[:] = [_copied(value) for value in task]
    except (AttributeError, NotImplementedError, TypeError):  # it cannot be changed
        return task
    for name, value in (fields or {}).items():
        object.__setattr__(copied, name, _copied(value))  # setattr fails if it is frozen
    return copied


def _shallow_copy(task: Any) -> Any:
    """A copy of the same class, with the same items and attributes."""
    try:
        return copy.copy(task)
    except KeyError:  # Python 3.10: a dict whose __getattr__ is dict.__getitem__
        copied = dict.__new__(type(task))
        dict.update(copied, task)
        vars(copied).update(vars(task))
        return copied


def _fields(task: Any) -> dict[str, Any] | None:
    """The fields of a dataclass that is compared by value; `None` for anything else."""
    if not dataclasses.is_dataclass(task) or isinstance(task, type):
        return None
    if type(task).__eq__ is object.__eq__:  # made with eq=False: compared by identity
        return None
    names = (one.name for one in dataclasses.fields(task))
    return {name: getattr(task, name) for name in names if hasattr(task, name)}


def _listed(name: str, tasks: Any) -> list[Any]:
    if isinstance(tasks, (str, bytes)) or not isinstance(tasks, Iterable):
        raise ValueError(f"Expected a list of tasks or a TaskSet for split {name!r}, got {tasks!r}")
    if isinstance(tasks, (set, frozenset)):
        raise ValueError(
            f"The tasks of split {name!r} are a set. Its order changes from process to process, "
            "and so does the task that a seed draws. Expected a list, such as sorted(…)"
        )
    listed = list(tasks)
    if not listed:
        raise ValueError(f"Split {name!r} has no tasks")
    return listed


def _as_set(name: str, tasks: Any) -> TaskSet:
    if isinstance(tasks, TaskSet):
        return tasks
    listed = _listed(name, tasks)
    matrix = _numbers(listed)
    if matrix is None:
        raise ValueError(
            f"Split {name!r} must contain numbers if another split is a TaskSet, got {listed!r}"
        )
    return FiniteTaskSet(matrix)


def _numbers(tasks: list[Any]) -> NDArray[np.float64] | None:
    """Tasks as a float64 matrix (n_tasks, task_dim); None if it cannot hold them exactly."""
    if any(isinstance(task, dict) for task in tasks):  # NumPy would look up attributes on them
        return None
    try:
        array = np.asarray(tasks)
    except (TypeError, ValueError):  # lists of different lengths
        return None
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or array.size == 0:
        return None
    matrix = array.astype(np.float64).reshape(len(tasks), -1)
    # objects: Python compares an integer with a float exactly
    rounded = bool((np.array(tasks, object).reshape(matrix.shape) != matrix).any())
    if array.dtype.kind in "iu":
        rounded |= bool((matrix.astype(array.dtype) != array.reshape(matrix.shape)).any())
    if rounded:  # integers that float64 cannot hold
        return None
    return matrix if np.isfinite(matrix).all() else None


def content_key(task: Any) -> Any:
    """A key that is equal for equal tasks or observations: by value if possible, else identity."""
    if isinstance(task, np.ndarray) and task.dtype != object:
        return (np.ndarray, task.shape, task.dtype.str, task.tobytes())
    if isinstance(task, dict):
        return (type(task), frozenset((name, content_key(value)) for name, value in task.items()))
    if isinstance(task, (list, tuple)):
        return (type(task), tuple(content_key(value) for value in task))
    if isinstance(task, set):
        return (type(task), frozenset(task))
    try:
        hash(task)
    except TypeError:
        fields = _fields(task)
        return id(task) if fields is None else (type(task), content_key(fields))
    return (type(task), task)

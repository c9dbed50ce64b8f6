"""Any environment as a family of hidden tasks: tasks set by a method, an attribute or a seed.

Each adapter is one wrapper around an ordinary environment, which gives it what a family has:
splits, `task` and `keep_task` at reset, `info["task"]`, `info["is_success"]`, and a
`task_distribution` that is found through further wrappers (`get_wrapper_attr`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from ldm_envs.arguments import whole_number
from ldm_envs.task_table import Tasks
from ldm_envs.task_wrapper import AnyEnv, TaskWrapper
from ldm_envs.tasks import TaskDistribution

__all__ = ["TaskAttributeWrapper", "TaskMethodWrapper", "TaskSeedWrapper", "TaskWrapper"]


class TaskMethodWrapper(TaskWrapper):
    """Makes a family of an environment whose task is set by calling a method.

    `TaskMethodWrapper(env, {"train": tasks[:50], "test": tasks[50:]}, "set_task")` serves
    environments with `set_task(task)` or `reset_task(task)` (garage, Meta-World, variBAD). The
    method is called at every reset, also where the task is kept.

    Args:
        env: The environment.
        tasks: As `TaskWrapper`.
        set_task: Name of a method, looked up through the wrappers of `env`, that is called with
            the task; or a function that is called with `env` and the task.
        after_reset: Call it after the environment's reset instead of before: for environments
            whose reset draws a task of its own. What it returns, if not None, is then taken for
            the start observation, as the observation wrappers between it and this one change it.
        kwargs: `split`, `success` and `components` of `TaskWrapper`.

    Raises:
        AttributeError: Neither `env` nor an environment in it has the method.
        ValueError: See `TaskWrapper`; for an `env` that has other tasks of its own, unless
            `after_reset`; at reset, for an observation outside the observation space.
    """

    def __init__(
        self,
        env: AnyEnv,
        tasks: Tasks,
        set_task: str | Callable[[AnyEnv, Any], Any] = "set_task",
        *,
        after_reset: bool = False,
        **kwargs: Any,
    ) -> None:
        own = {"set_task": set_task, "after_reset": after_reset}
        super().__init__(env, tasks, recorded=own, **kwargs)
        if not after_reset:
            _refuse_family(env, tasks, "TaskMethodWrapper")
        if isinstance(set_task, str):
            env.get_wrapper_attr(set_task)  # a wrong name is an error here, not at the first reset
        self._set_task = set_task
        self._after_reset = after_reset

    def _start(
        self, task: Any, seed: int | None, options: dict[str, Any] | None
    ) -> tuple[Any, dict[str, Any]]:
        if not self._after_reset:
            self._call(task)
            return self.env.reset(seed=seed, options=options)
        observation, info = self.env.reset(seed=seed, options=options)
        shown = self._call(task)
        if shown is None:
            return observation, info
        for layer in reversed(self._observation_wrappers()):
            shown = layer.observation(shown)
        if not self.observation_space.contains(shown):
            raise ValueError(
                f"set_task({task!r}) returned {shown!r}, expected None or an observation of "
                f"{self.observation_space}"
            )
        return shown, info

    def _call(self, task: Any) -> Any:
        if isinstance(self._set_task, str):
            return self.env.get_wrapper_attr(self._set_task)(task)
        return self._set_task(self.env, task)

    def _observation_wrappers(self) -> list[gym.ObservationWrapper[Any, Any, Any]]:
        """Those around what has the method, from the outside in; a function has seen to them."""
        found: list[gym.ObservationWrapper[Any, Any, Any]] = []
        layer: Any = self.env
        if not isinstance(self._set_task, str):
            return found
        while isinstance(layer, gym.Wrapper) and self._set_task not in dir(layer):
            if isinstance(layer, gym.ObservationWrapper):
                found.append(layer)
            layer = layer.env
        return found


class TaskAttributeWrapper(TaskWrapper):
    """Makes a family of an environment whose task is an attribute, such as a goal or a mass.

    `TaskAttributeWrapper(gym.make("Pendulum-v1"), {"train": [8.0, 12.0], "test": [10.0]}, "g")`.
    The attribute is set before every reset, where it is found among the wrappers of `env`.

    Args:
        env: The environment.
        tasks: As `TaskWrapper`.
        attribute: Name of an existing attribute, which is given the task; or several names, which
            are given the components of the task.
        kwargs: `split`, `success` and `components` of `TaskWrapper`.

    Raises:
        AttributeError: Neither `env` nor an environment in it has the attribute.
        ValueError: See `TaskWrapper`; for an `env` that has other tasks of its own; at reset, where
            names and components differ in number, or where the environment's reset replaces the
            attribute (draws a goal of its own).
    """

    def __init__(
        self, env: AnyEnv, tasks: Tasks, attribute: str | Sequence[str], **kwargs: Any
    ) -> None:
        super().__init__(env, tasks, recorded={"attribute": attribute}, **kwargs)
        _refuse_family(env, tasks, "TaskAttributeWrapper")
        self._names = [attribute] if isinstance(attribute, str) else list(attribute)
        for name in self._names:
            env.get_wrapper_attr(name)
        self._single = isinstance(attribute, str)

    def _start(
        self, task: Any, seed: int | None, options: dict[str, Any] | None
    ) -> tuple[Any, dict[str, Any]]:
        values = self._values(task)
        for name, value in zip(self._names, values, strict=True):
            self.env.set_wrapper_attr(name, value)
        started = self.env.reset(seed=seed, options=options)
        # asked for once more: the reset may have written into what it was given
        values = self._values(self.task)
        for name, value in zip(self._names, values, strict=True):
            found = self.env.get_wrapper_attr(name)
            if found is not None and not _same(found, value):  # None: used up by the reset
                given = "[task]" if self._single else "task"
                raise ValueError(
                    f"reset() replaced the task: {name} was set to {value!r} before it and is "
                    f"{found!r} after it. Expected an environment that keeps what it is given. If "
                    "reset() draws a task of its own, set the task after the reset: "
                    "TaskMethodWrapper(env, tasks, lambda env, task: [env.set_wrapper_attr(name, "
                    f"value) for name, value in zip({self._names}, {given})] and None, "
                    "after_reset=True); if it converts what it was given, leave out after_reset"
                )
        return started

    def _values(self, task: Any) -> list[Any]:
        """A value for each attribute."""
        if self._single:
            return [task]
        if not isinstance(task, (list, tuple, np.ndarray)) or len(task) != len(self._names):
            raise ValueError(
                f"Expected a task that is a list with a value for each of {self._names}, got "
                f"{task!r}"
            )
        return list(task)


class TaskSeedWrapper(TaskWrapper):
    """Makes a family of an environment that draws its task from its seed.

    `TaskSeedWrapper(env, {"train": range(100), "test": range(100, 200)})` serves every environment
    that is deterministic in `reset(seed=...)`: MiniGrid's levels, dm_control's goals, mazes. The
    seed also fixes the start state and all later randomness, so that each episode of a task
    begins alike.

    Args:
        env: The environment.
        tasks: Split name -> non-negative integers.
        kwargs: `split`, `success` and `components` of `TaskWrapper`.

    Raises:
        ValueError: See `TaskWrapper`, and for tasks that are not seeds.
    """

    def __init__(self, env: AnyEnv, tasks: Mapping[str, Iterable[int]], **kwargs: Any) -> None:
        if not isinstance(tasks, Mapping):
            raise ValueError(f"Expected a dict of seeds by split, got {tasks!r}")
        seeds = {name: [_seed(seed) for seed in listed] for name, listed in tasks.items()}
        super().__init__(env, seeds, **{"components": ("seed",), **kwargs})

    def _start(
        self, task: Any, seed: int | None, options: dict[str, Any] | None
    ) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=task, options=options)


def _refuse_family(env: AnyEnv, tasks: Tasks, name: str) -> None:
    """Raise a ValueError where each reset of `env` would draw a task of its own beside the given.

    An environment whose own sets are `tasks` may leave it to the adapter to set them.
    """
    try:
        own = env.get_wrapper_attr("task_distribution")
    except AttributeError:
        return
    if not isinstance(own, TaskDistribution):
        return
    if isinstance(tasks, Mapping) and all(tasks.get(split) is own[split] for split in own):
        return
    raise ValueError(
        f"{name} got {env}, which has tasks ({', '.join(own.components)}) of its own: they would "
        "be drawn anew at every reset, also where the task is kept. Expected an environment "
        "without a task_distribution, and one adapter that sets all that varies: "
        'TaskAttributeWrapper(env, tasks, ("first", "second")) for several attributes, or '
        "TaskMethodWrapper(env, tasks, function), with after_reset=True where function replaces "
        "the task that the environment's own reset has drawn"
    )


def _same(found: Any, given: Any) -> bool:
    """Whether an attribute is what it was set to, as another type or in float16 too."""
    if found is given:
        return True
    if isinstance(found, dict) and isinstance(given, dict):
        return found.keys() == given.keys() and all(_same(found[key], given[key]) for key in given)
    try:
        return bool(np.allclose(found, given, rtol=1e-3, atol=0.0, equal_nan=True))
    except (TypeError, ValueError):  # no numbers, or of another shape
        pass
    if isinstance(found, (list, tuple)) and isinstance(given, (list, tuple)):
        return len(found) == len(given) and all(map(_same, found, given))
    try:
        return bool(np.all(found == given))
    except ValueError:  # objects that hold arrays, which do not say whether they are equal
        return True


def _seed(value: Any) -> int:
    seed = whole_number(value, least=0)
    if seed is None:
        raise ValueError(f"Expected tasks that are non-negative integers (seeds), got {value!r}")
    return seed

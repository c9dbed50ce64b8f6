"""Any environment as a family of hidden tasks: tasks set by a method, an attribute or a seed.

Each adapter is a wrapper that gives an ordinary environment what a family has:
splits, `task` and `keep_task` at reset, `info["task"]`, `info["is_success"]`, and a
`task_distribution` that is found through further wrappers (`get_wrapper_attr`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ldm_envs.arguments import whole_number
from ldm_envs.task_table import Tasks
from ldm_envs.task_wrapper import AnyEnv, TaskWrapper
from ldm_envs.tasks import TaskDistribution

__all__ = ["TaskAttributeWrapper", "TaskMethodWrapper", "TaskSeedWrapper", "TaskWrapper"]


class TaskMethodWrapper(TaskWrapper):
    """Turns an environment whose task is set by a method into a family.

    `TaskMethodWrapper(env, {"train": tasks[:50], "test": tasks[50:]}, "set_task")` is for
    environments with `set_task(task)` or `reset_task(task)` (garage, Meta-World, variBAD). The
    method is called at every reset, even when the task is kept.

    Args:
        env: The environment.
        tasks: See `TaskWrapper`.
        set_task: Name of a method, looked up through the wrappers of `env`, that is called with
            the task; or a function that is called with `env` and the task.
        after_reset: Call it after the environment's reset instead of before, for environments
            whose reset draws its own task. A return value other than None is then the start
            observation, or the observation and infos of another reset, which replace those of
            the first; if `set_task` is a name, the observation passes through the observation
            wrappers around that method's owner.
        kwargs: `split`, `success` and `components` of `TaskWrapper`.

    Raises:
        AttributeError: Neither `env` nor an environment inside it has the method.
        ValueError: See `TaskWrapper`; for an `env` that already has other tasks, unless
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
        if self._is_of_reset(shown):
            shown, info = shown
        for layer in reversed(self._observation_wrappers()):
            shown = layer.observation(shown)
        if not self.observation_space.contains(shown):
            raise ValueError(
                f"set_task({task!r}) returned {shown!r}, expected None or an observation of "
                f"{self.observation_space}"
            )
        return shown, info

    def _is_of_reset(self, returned: Any) -> bool:
        """Whether `set_task` has returned what a reset returns, not only an observation."""
        pair = isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict)
        return pair and not isinstance(self.env.unwrapped.observation_space, spaces.Tuple)

    def _call(self, task: Any) -> Any:
        if isinstance(self._set_task, str):
            return self.env.get_wrapper_attr(self._set_task)(task)
        return self._set_task(self.env, task)

    def _observation_wrappers(self) -> list[gym.ObservationWrapper[Any, Any, Any]]:
        """Those around the owner of the method, outermost first; none if it is a function."""
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
    """Turns an environment whose task is an attribute, such as a goal or a mass, into a family.

    `TaskAttributeWrapper(gym.make("Pendulum-v1"), {"train": [8.0, 12.0], "test": [10.0]}, "g")`.
    The attribute is set before every reset, on the wrapper or environment in `env` that has it.

    Args:
        env: The environment.
        tasks: See `TaskWrapper`.
        attribute: Name of an existing attribute, which is set to the task; or several names, which
            are set to the components of the task.
        kwargs: `split`, `success` and `components` of `TaskWrapper`.

    Raises:
        AttributeError: Neither `env` nor an environment inside it has the attribute.
        ValueError: See `TaskWrapper`; for an `env` that already has other tasks; at reset, if
            names and components differ in number, or if the environment's reset replaces the
            attribute (draws its own goal).
    """

    def __init__(
        self, env: AnyEnv, tasks: Tasks, attribute: str | Sequence[str], **kwargs: Any
    ) -> None:
        super().__init__(env, tasks, recorded={"attribute": attribute}, **kwargs)
        _refuse_family(env, tasks, "TaskAttributeWrapper")
        self._names = [attribute] if isinstance(attribute, str) else list(attribute)
        self._single = isinstance(attribute, str)
        for name in self._names:
            try:
                env.get_wrapper_attr(name)
            except AttributeError:
                raise AttributeError(
                    f"{env} has no attribute {name!r} before its first reset, expected an existing "
                    f"one. If reset() makes it, {self._afterwards()}"
                ) from None

    def _start(
        self, task: Any, seed: int | None, options: dict[str, Any] | None
    ) -> tuple[Any, dict[str, Any]]:
        values = self._values(task)
        for name, value in zip(self._names, values, strict=True):
            self.env.set_wrapper_attr(name, value)
        started = self.env.reset(seed=seed, options=options)
        # computed again: the reset may have changed the first ones in place
        values = self._values(self.task)
        for name, value in zip(self._names, values, strict=True):
            found = self.env.get_wrapper_attr(name)
            if found is not None and not _same(found, value):  # None: consumed by the reset
                raise ValueError(
                    f"reset() replaced the task: {name} was set to {value!r} before it and is "
                    f"{found!r} after it. Expected an environment that keeps the value. If "
                    f"reset() draws its own task, {self._afterwards()}; if it converts the value, "
                    "leave out after_reset"
                )
        return started

    def _afterwards(self) -> str:
        """What sets the attributes after the reset, for messages."""
        given = "[task]" if self._single else "task"
        return (
            "set the task after the reset: TaskMethodWrapper(env, tasks, lambda env, task: "
            f"[env.set_wrapper_attr(name, value) for name, value in zip({self._names}, {given})] "
            "and None, after_reset=True)"
        )

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
    """Turns an environment that draws its task from its seed into a family.

    `TaskSeedWrapper(env, {"train": range(100), "test": range(100, 200)})` is for environments
    that are deterministic in `reset(seed=...)`: MiniGrid's levels, dm_control's goals, mazes. The
    seed also fixes the start state and all later randomness, so all episodes of a task start
    alike.

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
    """Raise a ValueError if each reset of `env` would also draw a task of its own.

    An environment whose own task sets are `tasks` is accepted: the adapter sets its task.
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
        f"{name} got {env}, which already has tasks ({', '.join(own.components)}): a new one would "
        "be drawn at every reset, even when the task is kept. Expected an environment "
        "without a task_distribution, and one adapter that sets everything that varies: "
        'TaskAttributeWrapper(env, tasks, ("first", "second")) for several attributes, or '
        "TaskMethodWrapper(env, tasks, function), with after_reset=True if function replaces "
        "the task that the environment's own reset draws"
    )


def _same(found: Any, given: Any) -> bool:
    """Whether an attribute has the value it was set to, up to its type and float16 rounding."""
    if found is given:
        return True
    if isinstance(found, dict) and isinstance(given, dict):
        return found.keys() == given.keys() and all(_same(found[key], given[key]) for key in given)
    try:
        return bool(np.allclose(found, given, rtol=1e-3, atol=0.0, equal_nan=True))
    except (TypeError, ValueError):  # not numbers, or another shape
        pass
    if isinstance(found, (list, tuple)) and isinstance(given, (list, tuple)):
        return len(found) == len(given) and all(map(_same, found, given))
    try:
        return bool(np.all(found == given))
    except ValueError:  # objects that contain arrays, whose comparison gives no single bool
        return True


def _seed(value: Any) -> int:
    seed = whole_number(value, least=0)
    if seed is None:
        raise ValueError(f"Expected tasks that are non-negative integers (seeds), got {value!r}")
    return seed

"""Tasks of other people's classes: copied where they are values, known again where they repeat."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from ldm_envs import TaskMethodWrapper
from ldm_envs.task_table import TaskTable


class Named(NamedTuple):
    """As a task of Meta-World."""

    goal: Any


@dataclasses.dataclass
class Plain:
    """Equal by value, and not hashable."""

    goal: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    """Its array can be written into all the same."""

    goal: Any


class Attributes(dict[str, Any]):
    """The recipe for a dict whose items are attributes."""

    __getattr__ = dict.__getitem__


class OwnAttributes(dict[str, Any]):
    """The other recipe."""

    def __init__(self, **items: Any) -> None:
        super().__init__(**items)
        self.__dict__ = self


KINDS: list[Any] = [
    Named,
    Plain,
    Frozen,
    lambda goal: Attributes(goal=goal),
    lambda goal: OwnAttributes(goal=goal),
]


class Follows(gym.Env[Any, Any]):
    """Its goal is the task's own array, and moves in place."""

    observation_space = spaces.Box(-9.0, 9.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def set_task(self, task: Any) -> None:
        self.goal = task.goal

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.goal += 1.0
        return np.zeros(1, np.float32), float(self.goal.sum()), False, False, {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_goal_that_moves_inside_a_task_begins_anew_with_each_reset(kind: Any) -> None:
    """The listed task itself moved: each episode of it had another goal."""
    env = TaskMethodWrapper(Follows(), {"train": [kind(np.zeros(2)), kind(np.ones(2))]})
    for index, expected in ((0, 2.0), (1, 4.0), (0, 2.0)):
        env.reset(options={"task": [index]})
        assert [env.step(0)[1] for _ in range(2)] == [expected, expected + 2.0]
        env.reset(options={"keep_task": True})
        assert env.step(0)[1] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_equal_tasks_are_one_task(kind: Any) -> None:
    """They were told apart by where they are in memory, and test tasks were train tasks."""
    tasks = {"train": [kind([1, "a"]), kind([2, "a"])], "test": [kind([2, "a"])]}
    with pytest.warns(UserWarning, match="shares 1 of 1 tasks"):
        table = TaskTable(tasks)
    np.testing.assert_array_equal(table.distribution["test"].tasks, [[1.0]])


def test_a_task_is_of_the_class_that_it_was_listed_as() -> None:
    tasks = [collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]), {1, 2}]
    table = TaskTable({"train": tasks})
    for index, listed in enumerate(tasks):
        told = table.task(np.float32([index]))
        assert told == listed and type(told) is type(listed) and told is not listed
    missing = table.task(np.float32([1]))
    missing["b"].append(2)
    missing["a"].append(2)
    assert table.task(np.float32([1])) == {"a": [1]}


def test_objects_that_are_told_apart_by_identity_are_handed_on_as_they_are() -> None:
    @dataclasses.dataclass(eq=False)
    class Place:
        goal: Any

    places = [Place([1.0]), Place([1.0])]
    table = TaskTable({"train": places[:1], "test": places[1:]})
    assert [table.task(np.float32([index])) for index in (0, 1)] == places


class Immutable(dict[str, Any]):
    """A dict that refuses changes."""

    def update(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("immutable")


@dataclasses.dataclass
class Unfinished:
    goal: int
    distance: float = dataclasses.field(init=False)


def test_objects_that_no_copy_can_be_made_of_are_handed_on_as_they_are() -> None:
    for tasks in ([Immutable(goal=1), Immutable(goal=2)], [Unfinished(1), Unfinished(2)]):
        table = TaskTable({"train": tasks})
        found = [table.task(row) for row in table.distribution["train"].tasks]
        assert [type(task) for task in found] == [type(task) for task in tasks]
        goals = [task["goal"] if isinstance(task, dict) else task.goal for task in found]
        assert goals == [1, 2]

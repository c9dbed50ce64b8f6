"""Adapters: any environment whose tasks are set by a method, an attribute or a seed."""

from __future__ import annotations

import pickle
import warnings
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from ldm_envs import (
    FiniteTaskSet,
    IntervalTaskSet,
    TaskAttributeWrapper,
    TaskMethodWrapper,
    TaskSeedWrapper,
    TaskWrapper,
    check_family,
)
from ldm_envs.task_table import TaskTable


class Goal(NamedTuple):
    """A task object that is no number."""

    name: str
    place: float


class Strict(gym.Env[np.ndarray, int]):
    """Told its task by a method, refuses unknown options, never redraws its task."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.gain: Any = None
        self.calls: list[Any] = []

    def set_task(self, task: Any) -> None:
        self.calls.append(task)
        self.gain = task.place if isinstance(task, Goal) else float(np.ravel(task)[0])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        if options:
            raise KeyError(f"unknown reset options {options}")
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> Any:
        return np.zeros(1, np.float32), self.gain * action, False, False, {"success": action == 2}


class Redrawing(Strict):
    """Draws a task of its own at every reset, as PointMaze does."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        result = super().reset(seed=seed, options=options)
        self.gain = float(self.np_random.uniform(10, 20))
        return result


GOALS = {"train": [Goal("near", 1.0), Goal("far", 2.0)], "test": [Goal("middle", 1.5)]}
ROWS = {"train": [[1.0, 5.0], [2.0, 6.0]], "test": np.array([[1.5, 5.5]])}


def reward(env: gym.Env[Any, Any]) -> float:
    return float(env.step(1)[1])


@pytest.mark.parametrize(
    ("splits", "vectors", "objects"),
    [
        ({"train": [8.0, 12], "test": [10.0]}, [[8], [10], [12]], [8.0, 10.0, 12]),
        (ROWS, [[1, 5], [1.5, 5.5], [2, 6]], [[1.0, 5.0], [1.5, 5.5], [2.0, 6.0]]),
        (GOALS, [[0], [1], [2]], [*GOALS["train"], *GOALS["test"]]),
        ({"train": ["a", "b"], "test": ["b"]}, [[0], [1]], ["a", "b"]),
        # float32 rounds these to one number, so they travel by index
        ({"train": [2**24, 2**24 + 1]}, [[0], [1]], [2**24, 2**24 + 1]),
        ({"train": [[1], [1, 2]]}, [[0], [1]], [[1], [1, 2]]),
        ({"train": [-0.0, 1.0]}, [[0], [1]], [0.0, 1.0]),
    ],
)
def test_tasks_of_any_kind_travel_as_vectors_and_come_back(
    splits: Any, vectors: Any, objects: list[Any]
) -> None:
    table = TaskTable(splits)
    everything = table.distribution["all"].tasks
    assert everything is not None
    np.testing.assert_array_equal(everything, np.array(vectors, np.float32))
    for vector, expected in zip(everything, objects, strict=True):
        assert np.array_equal(np.asarray(table.task(vector), object), np.asarray(expected, object))
    for name, tasks in splits.items():
        members = table.distribution[name].tasks
        assert members is not None and len(members) == len(tasks)


def test_task_sets_hand_over_vectors_and_unite_to_all() -> None:
    table = TaskTable({"train": IntervalTaskSet([(0, 1), (3, 4)]), "test": [1.5, 2.5]})
    everything = table.distribution["all"]
    assert list(everything.contains([[0.5], [1.5], [2.5], [2.0], [3.5]])) == [1, 1, 1, 0, 1]
    drawn = everything.sample(np.random.default_rng(0), 400)
    assert everything.contains(drawn).all()
    # each set is equally likely, whatever it holds
    assert 0.4 < np.isin(drawn, [1.5, 2.5]).mean() < 0.6
    assert table.task(np.float32([0.5])) == 0.5


@pytest.mark.parametrize(
    "splits",
    [{}, [1, 2], {"train": []}, {"train": "abc"}, {"train": 3}, {"train": [1], "test": [[1, 2]]}],
)
def test_splits_that_are_none_are_refused(splits: Any) -> None:
    if splits == {"train": [1], "test": [[1, 2]]}:  # of different lengths: tasks, by their index
        assert TaskTable(splits).distribution.components == ("task index",)
        return
    with pytest.raises(ValueError, match=r"Expected|has no tasks"):
        TaskTable(splits)


def test_a_method_makes_a_family() -> None:
    env = TaskMethodWrapper(Strict(), GOALS, "set_task")
    _, info = env.reset(seed=0)
    assert env.task in GOALS["train"] and info["task"].dtype == np.float32
    for index, goal in enumerate([*GOALS["train"], *GOALS["test"]]):
        _, info = env.reset(options={"task": [index]})
        assert info["task"] == [index] and reward(env) == goal.place
        env.reset(options={"keep_task": True})
        assert reward(env) == goal.place
        assert env.unwrapped.calls[-2:] == [goal, goal]
    assert {float(env.reset()[1]["task"][0]) for _ in range(30)} == {0.0, 1.0}
    with pytest.raises(ValueError, match='outside the set "all"'):
        env.reset(options={"task": [3]})
    with pytest.raises(ValueError, match="exclude each other"):
        env.reset(options={"task": [1], "keep_task": True})
    with pytest.raises(KeyError, match="speed"):  # the environment's own options reach it
        env.reset(options={"speed": 3})
    with pytest.raises(ValueError, match="Unknown split 'exam'"):
        TaskMethodWrapper(Strict(), GOALS, "set_task", split="exam")
    with pytest.raises(AttributeError, match="set_tusk"):
        TaskMethodWrapper(Strict(), GOALS, "set_tusk")


@pytest.mark.parametrize(
    ("adapter", "arguments", "unknown"),
    [
        (TaskMethodWrapper, ("set_task",), "sucess"),
        (TaskAttributeWrapper, ("g",), "after_reset"),
        (TaskSeedWrapper, (), "splits"),
    ],
)
def test_arguments_that_an_adapter_does_not_have_are_refused(
    adapter: Any, arguments: tuple[str, ...], unknown: str
) -> None:
    """They were recorded for the spec, and had no effect."""
    env = Strict() if adapter is TaskMethodWrapper else gym.make("Pendulum-v1")
    adapter(env, {"train": [1, 2]}, *arguments)
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{unknown}'"):
        adapter(env, {"train": [1, 2]}, *arguments, **{unknown: True})


def test_a_reset_that_redraws_is_told_afterwards() -> None:
    shown = np.float32([0.25])

    def told(env: gym.Env[Any, Any], task: float) -> Any:
        env.unwrapped.set_task(task)  # type: ignore[attr-defined]
        return shown if task > 1 else None

    tasks = {"train": [1.0, 2.0]}
    before = TaskMethodWrapper(Redrawing(), tasks)
    before.reset(options={"task": [1.0]})
    assert reward(before) >= 10  # its own draw: this is what `after_reset` is for
    env = TaskMethodWrapper(Redrawing(), tasks, told, after_reset=True)
    assert env.reset(options={"task": [1.0]})[0] == 0 and reward(env) == 1.0
    assert env.reset(options={"task": [2.0]})[0] == shown and reward(env) == 2.0
    env = TaskMethodWrapper(Redrawing(), tasks, lambda env, task: "started", after_reset=True)
    with pytest.raises(ValueError, match="returned 'started'"):
        env.reset()


class Optional(gym.Env[Any, Any]):
    """Takes its goal from the options of its reset, and reports where it starts."""

    observation_space: Any = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        place = self.np_random.random(1, np.float32)
        return place, {"place": place.copy(), **(options or {"own": True})}


class Pairs(Optional):
    """Its observation looks like a reset's result."""

    observation_space = spaces.Tuple((Optional.observation_space, spaces.Dict({})))

    def reset(self, **kwargs: Any) -> Any:
        place, info = super().reset(**kwargs)
        return (place, {}), info


def reset_to(env: gym.Env[Any, Any], task: float) -> Any:
    return env.reset(options={"goal": task})


def test_infos_of_a_second_reset_replace_those_of_the_first() -> None:
    env = TaskMethodWrapper(Optional(), {"train": [1.0, 2.0]}, reset_to, after_reset=True)
    for seed in range(5):
        start, info = env.reset(seed=seed)
        assert info == {"place": start, "goal": info["task"], "task": info["task"]}


def test_an_observation_that_is_a_pair_is_an_observation() -> None:
    def shown(env: gym.Env[Any, Any], task: float) -> Any:
        return reset_to(env, task)[0]

    env = TaskMethodWrapper(Pairs(), {"train": [1.0]}, shown, after_reset=True)
    start, info = env.reset(seed=0)
    assert Pairs.observation_space.contains(start) and info["own"]


class Told(Redrawing):
    """Its method returns the start observation of the task."""

    def set_task(self, task: Any) -> Any:
        super().set_task(task)
        return np.full(1, 0.1 * self.gain, np.float32)


def test_a_start_observation_passes_through_the_wrappers_from_the_inside_out() -> None:
    box = spaces.Box(-9, 9, (1,), np.float32)
    doubled = gym.wrappers.TransformObservation(Told(), lambda x: 2 * x, box)
    raised = gym.wrappers.TransformObservation(doubled, lambda x: x + 1, box)
    env = TaskMethodWrapper(raised, {"train": [1.0, 2.0]}, after_reset=True)
    for task in (1.0, 2.0):
        shown = env.reset(options={"task": [task]})[0]
        np.testing.assert_allclose(shown, [2 * (0.1 * task) + 1], rtol=1e-6)


def test_attributes_make_a_family() -> None:
    pendulum = TaskAttributeWrapper(gym.make("Pendulum-v1"), {"train": [8, 12], "test": [10]}, "g")
    pendulum.reset(options={"task": [10.0]})
    assert pendulum.unwrapped.g == 10 and isinstance(pendulum.unwrapped.g, int)
    two = TaskAttributeWrapper(gym.make("Pendulum-v1"), {"train": [(8, 1), (12, 2)]}, ("g", "m"))
    two.reset(options={"task": [12, 2]})
    assert (two.unwrapped.g, two.unwrapped.m) == (12, 2)
    with pytest.raises(AttributeError, match="gravity"):
        TaskAttributeWrapper(gym.make("Pendulum-v1"), {"train": [8.0]}, "gravity")
    # a dict gave its keys, a text its letters, and a number was no iterable
    for task in ((1, 2, 3), {"g": 8.0, "m": 1.0}, "gm", 8.0):
        other = TaskAttributeWrapper(gym.make("Pendulum-v1"), {"train": [task]}, ("g", "m"))
        with pytest.raises(ValueError, match="a list with a value for each of"):
            other.reset()


def test_seeds_make_a_family() -> None:
    env = TaskSeedWrapper(gym.make("Pendulum-v1"), {"train": range(5), "test": range(5, 9)})
    start, info = env.reset(options={"task": [7]})
    np.testing.assert_array_equal(start, gym.make("Pendulum-v1").reset(seed=7)[0])
    np.testing.assert_array_equal(start, env.reset(options={"keep_task": True})[0])
    assert info["task"] == [7] and env.task_distribution.components == ("seed",)
    for bad in (-1, 0.5, "a"):
        with pytest.raises(ValueError, match="non-negative integers"):
            TaskSeedWrapper(gym.make("Pendulum-v1"), {"train": [bad]})  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("success", "expected"),
    [(None, True), ("success", True), (lambda info: not info["success"], False), ("won", None)],
)
def test_success_comes_from_any_key(success: Any, expected: bool | None) -> None:
    env = TaskMethodWrapper(Strict(), GOALS, success=success)
    env.reset()
    assert env.step(2)[-1].get("is_success") is expected


class Doubtful(Strict):
    """Reports a success under both keys, of two kinds."""

    def step(self, action: Any) -> Any:
        *result, info = super().step(action)
        return *result, {"is_success": not info["success"], **info}


def test_of_two_keys_that_report_success_gymnasiums_comes_first() -> None:
    for success, expected in ((None, False), ("success", True)):
        env = TaskMethodWrapper(Doubtful(), GOALS, success=success)
        env.reset()
        assert env.step(2)[-1]["is_success"] is expected


class Sometimes(Doubtful):
    """Reports its own success in every step, and the one that is asked for only on success."""

    def step(self, action: Any) -> Any:
        *result, info = super().step(action)
        won = {"won": True} if info["success"] else {}
        return *result, {"is_success": True, **won}


def test_a_step_without_the_given_key_reports_no_success_of_another_kind() -> None:
    env = TaskMethodWrapper(Sometimes(), GOALS, success="won")
    env.reset()
    assert [env.step(action)[-1].get("is_success") for action in (0, 2)] == [None, True]


class Labelled(Strict):
    """Has infos of its own under the name that adapters use."""

    def reset(self, **kwargs: Any) -> Any:
        observation, info = super().reset(**kwargs)
        return observation, {**info, "task": "door-open"}

    def step(self, action: Any) -> Any:
        *result, info = super().step(action)
        return *result, {**info, "task": "door-open"}


def test_an_environments_own_task_info_is_kept_under_another_name() -> None:
    env = TaskMethodWrapper(Labelled(), GOALS, success=lambda info: info["task"] == "door-open")
    task = env.task_distribution["test"].tasks[0]
    _, start = env.reset(options={"task": task})
    *_, info = env.step(2)
    for told in (start, info):
        assert told["environment_task"] == "door-open"
        np.testing.assert_array_equal(told["task"], task)
    assert info["is_success"]


def test_a_key_of_successes_that_no_step_reports_is_told_once() -> None:
    env = TaskMethodWrapper(Strict(), GOALS, success="won")
    for _ in range(2):
        env.reset()
    env.step(2)
    with pytest.warns(UserWarning, match=r"success='won'; the last one reported \['success'"):
        env.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.step(2)
        env.reset()
    for success in ("success", None, lambda info: info["success"]):
        other = TaskMethodWrapper(Strict(), GOALS, success=success)
        other.reset()
        other.step(2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            other.reset()


def test_choice_of_tasks_follows_the_seed_and_leaves_the_environments_generator() -> None:
    def tasks(seed: int) -> list[float]:
        env = TaskSeedWrapper(gym.make("Pendulum-v1"), {"train": range(1000)})
        first = env.reset(seed=seed)[1]["task"][0]
        return [float(first), *(float(env.reset()[1]["task"][0]) for _ in range(10))]

    assert tasks(0) == tasks(0)
    assert len(set(tasks(0)) & set(tasks(1))) < 3
    plain, adapted = gym.make("Pendulum-v1"), gym.make("Pendulum-v1")
    env = TaskAttributeWrapper(adapted, {"train": [10.0, 11.0]}, "g")
    np.testing.assert_array_equal(plain.reset(seed=3)[0], env.reset(seed=3)[0])
    np.testing.assert_array_equal(plain.reset()[0], env.reset()[0])


def test_families_are_found_through_wrappers_and_made_again_from_their_spec() -> None:
    env = TaskMethodWrapper(Strict(), GOALS, "set_task", split="test")
    outer = gym.wrappers.TimeLimit(env, 5)
    assert outer.get_wrapper_attr("task_distribution") is env.task_distribution
    assert outer.get_wrapper_attr("split") == "test"
    limited = TaskAttributeWrapper(gym.make("Pendulum-v1"), {"train": [8.0]}, "g")
    assert limited.spec is not None and limited.spec.max_episode_steps == 200
    again = gym.make(limited.spec)
    assert again.get_wrapper_attr("task_distribution")["train"].tasks == [[8.0]]
    copy = pickle.loads(pickle.dumps(env))
    copy.reset(options={"task": [1]})
    assert reward(copy) == 2.0


@pytest.mark.parametrize("vector", [SyncVectorEnv, AsyncVectorEnv])
def test_families_run_in_vector_environments(vector: Any) -> None:
    def make() -> gym.Env[Any, Any]:
        return TaskMethodWrapper(Strict(), GOALS, lambda env, task: env.unwrapped.set_task(task))

    env = vector([make] * 3, autoreset_mode=AutoresetMode.DISABLED)
    _, infos = env.reset(seed=0)
    before = infos["task"].copy()
    mask = np.array([True, False, True])
    _, infos = env.reset(options={"reset_mask": mask, "keep_task": True})
    np.testing.assert_array_equal(infos["task"][mask], before[mask])
    _, rewards, *_, infos = env.step(np.ones(3, np.int64))
    np.testing.assert_array_equal(rewards, infos["task"][:, 0] + 1.0)
    env.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda split: TaskMethodWrapper(Strict(), GOALS, split=split, success="success"),
        lambda split: TaskAttributeWrapper(
            gym.make("Pendulum-v1"), {"train": FiniteTaskSet([[8.0], [9.0]])}, "g", split=split
        ),
        lambda split: TaskSeedWrapper(
            gym.make("Pendulum-v1"), {"train": range(9), "test": range(9, 12)}, split=split
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*step limit", "ignore:.*not hidden")
def test_what_an_adapter_makes_is_a_family(make: Any) -> None:
    assert isinstance(make("train"), TaskWrapper)
    check_family(make, n_steps=20)


class Doubles(IntervalTaskSet):
    """Draws float64, as ``rng.uniform`` does."""

    def sample(self, rng: np.random.Generator, n: int) -> Any:
        return rng.uniform(5.0, 15.0, (n, 1))


def test_a_drawn_task_is_the_one_that_infos_report_and_can_be_pinned() -> None:
    sets = {"train": Doubles([(5.0, 15.0)])}
    env = TaskAttributeWrapper(gym.make("Pendulum-v1"), sets, "g")
    for seed in range(5):
        told = env.reset(seed=seed)[1]["task"]
        played = env.get_wrapper_attr("g")
        assert told.dtype == np.float32 and played == told[0]
        env.reset(options={"task": told})
        assert env.get_wrapper_attr("g") == played


def set_map(env: gym.Env[Any, Any], rows: list[str]) -> None:
    env.unwrapped.__init__(desc=rows, is_slippery=True)  # type: ignore[misc]


@pytest.mark.filterwarnings("ignore:.*the same rewards")
def test_a_reset_that_makes_new_spaces_is_reproducible_all_the_same() -> None:
    maps = {
        "train": [["SFF", "FHF", "FFG"], ["SFF", "FHF", "GFF"]],
        "test": [["SFG", "FHF", "FFF"]],
    }

    def make(split: str) -> gym.Env[Any, Any]:
        lake = TaskMethodWrapper(gym.make("FrozenLake-v1"), maps, set_map, split=split)
        return gym.wrappers.FlattenObservation(lake)

    check_family(make)


class Pushed(gym.Env[Any, Any]):
    """Its goal is what it was given, and moves in place."""

    observation_space = spaces.Box(-9.0, 9.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def set_task(self, goal: Any) -> None:
        self.goal = goal

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.goal += 1.0
        return np.zeros(1, np.float32), float(np.sum(self.goal)), False, True, {}


def test_an_environment_that_moves_its_goal_does_not_move_the_task() -> None:
    goals = [np.array([1.0, 0.0]), np.array([0.0, 2.0])]
    env = TaskMethodWrapper(Pushed(), {"train": goals})
    for _ in range(3):
        env.reset(options={"task": [1.0, 0.0]})
        assert env.step(0)[1] == 3.0
        np.testing.assert_array_equal(env.task, [1.0, 0.0])
    goals[0] += 5.0  # nor does its owner
    env.reset(options={"task": [1.0, 0.0]})
    assert env.step(0)[1] == 3.0


def test_what_callers_do_to_a_reported_task_does_not_move_the_task() -> None:
    env = TaskAttributeWrapper(gym.make("Pendulum-v1"), {"train": [8.0, 12.0]}, "g")
    _, info = env.reset(options={"task": [12.0]})
    for _ in range(3):
        info["task"] += 5.0
        *_, info = env.step(np.zeros(1, np.float32))
        assert info["task"] == [12.0]
    info["task"] += 5.0
    assert env.reset(options={"keep_task": True})[1]["task"] == [12.0]


def test_tasks_that_hold_arrays_are_copied_and_other_objects_are_not() -> None:
    tasks = [{"goal": np.ones(2), "engine": np}, {"goal": np.zeros(2), "engine": np}]
    table = TaskTable({"train": [*tasks, (np.ones(3), "right")]})
    vectors = table.distribution["train"].tasks
    assert vectors is not None
    first, _, pair = (table.task(row) for row in vectors)
    first["goal"] += 1.0
    pair[0][:] = 5.0
    np.testing.assert_array_equal(table.task(vectors[0])["goal"], 1.0)
    np.testing.assert_array_equal(table.task(vectors[2])[0], 1.0)
    assert table.task(vectors[0])["engine"] is np


def test_listed_tasks_are_met_exactly_in_every_split() -> None:
    env = TaskMethodWrapper(Pushed(), {"train": [1.0, 2.0], "test": [3.0]})
    env.reset(options={"task": [2.0]})
    with pytest.raises(ValueError, match='outside the set "all"'):
        env.reset(options={"task": [1.00001]})
    assert env.reset(options={"keep_task": True})[1]["task"] == 2.0


def test_integers_that_no_float_holds_stay_apart() -> None:
    large = [2**60 + i for i in range(5)]
    for tasks in (large, np.array(large), [np.int64(n) for n in large]):
        table = TaskTable({"train": tasks, "test": [2**60 + 9]})
        train, test = (table.distribution[name].tasks for name in ("train", "test"))
        assert train is not None and test is not None
        assert [table.task(row) for row in train] == large
        assert [table.task(row) for row in test] == [2**60 + 9]
    pairs = [(2**60 + i, 0.5) for i in range(3)]
    rows = TaskTable({"train": pairs, "test": [(5, 0.1)]}).distribution["train"].tasks
    np.testing.assert_array_equal(rows, [[0.0], [1.0], [2.0]])
    small = TaskTable({"train": [(1, 0.1), (2, 0.5)]}).distribution
    np.testing.assert_array_equal(small["train"].tasks, np.float32([[1, 0.1], [2, 0.5]]))


def test_all_keeps_periods_and_tolerances_of_the_splits() -> None:
    angles = [FiniteTaskSet([[a]], period=[2 * np.pi]) for a in (0.0, 1.0)]
    table = TaskTable({"train": angles[0], "test": angles[1]})
    assert table.distribution["all"].contains([2 * np.pi])
    coarse = TaskTable({"train": angles[0], "test": FiniteTaskSet([[3.0]], tolerance=0.5)})
    every = coarse.distribution["all"]
    assert every.contains([2 * np.pi]) and every.contains([3.4]) and not every.contains([1.0])
    np.testing.assert_array_equal(every.tasks, [[0.0], [3.0]])
    many = FiniteTaskSet(np.arange(50.0)[:, None])
    table = TaskTable({"train": many, "test": FiniteTaskSet([[70.0], [71.0]], tolerance=0.5)})
    drawn = table.distribution["all"].sample(np.random.default_rng(0), 2000)
    assert 0.02 < (drawn >= 70).mean() < 0.06  # 2 of 52 tasks


def test_the_choice_of_tasks_shares_no_stream_with_the_environment_or_imaginary_tasks() -> None:
    env = TaskMethodWrapper(Pushed(), {"train": [float(n) for n in range(1000)]})
    tasks = [env.reset(seed=5)[1]["task"][0], *(env.reset()[1]["task"][0] for _ in range(4))]
    children = [np.random.default_rng(child) for child in np.random.SeedSequence(5).spawn(3)]
    for rng in (gym.utils.seeding.np_random(5)[0], *children):
        assert [float(rng.integers(1000)) for _ in range(5)] != tasks


def test_a_zero_is_a_zero_whatever_its_sign() -> None:
    """-0.0 == 0.0, whose bytes differ."""
    table = TaskTable({"train": [0.0, 1.0, -0.0], "test": [2.0]})
    assert table.distribution.components == ("task[0]",)  # not told apart by an index
    for zero in (0.0, -0.0):
        assert table.distribution["all"].contains([zero])
        assert table.task(np.float32([zero])) == 0.0
    env = TaskMethodWrapper(Strict(), {"train": [0.0, 1.0]}, "set_task")
    assert env.reset(seed=0, options={"task": np.float32([-0.0])})[1]["task"] == 0.0
    assert reward(env) == 0.0


def two_attributes(split: str) -> gym.Env[Any, Any]:
    inner = TaskAttributeWrapper(gym.make("Pendulum-v1"), {"train": [8.0, 9.0]}, "g", split=split)
    return TaskAttributeWrapper(inner, {"train": [1.0, 2.0]}, "m", split=split)


def set_gravity(env: gym.Env[Any, Any], task: float) -> None:
    env.unwrapped.model.opt.gravity[2] = -task  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "make",
    [
        lambda: two_attributes("train"),
        lambda: TaskMethodWrapper(
            gym.make("LDM-HalfCheetahVel-v0"), {"train": [9.0, 10.0]}, set_gravity
        ),
        lambda: TaskMethodWrapper(
            TaskSeedWrapper(gym.make("Pendulum-v1"), {"train": range(5)}),
            {"train": [1.0]},
            lambda env, task: None,
        ),
    ],
)
def test_an_environment_with_tasks_of_its_own_is_refused(make: Any) -> None:
    """Its reset would draw another one at every inner episode."""
    with pytest.raises(ValueError, match=r"which already has tasks \("):
        make()


class OwnTasks(Pushed):
    """Leaves it to others to set the tasks that it has."""

    task_distribution = TaskTable({"train": FiniteTaskSet([[1.0], [2.0]])}).distribution


def test_an_environment_with_tasks_of_its_own_is_adapted_where_these_are_set() -> None:
    own = TaskMethodWrapper(OwnTasks(), OwnTasks.task_distribution)
    own.reset(options={"task": [2.0]})
    assert reward(own) == 3.0

    def replace(env: gym.Env[Any, Any], task: float) -> None:
        env.unwrapped._task = np.float32([task])  # type: ignore[attr-defined]

    cheetah = gym.make("LDM-HalfCheetahVel-v0")
    after = TaskMethodWrapper(cheetah, {"train": [1.0, 2.0]}, replace, after_reset=True)
    after.reset(seed=0, options={"task": [2.0]})
    after.reset(options={"keep_task": True})
    assert cheetah.unwrapped._task == [2.0]  # type: ignore[attr-defined]
    seeds = TaskSeedWrapper(gym.make("LDM-GridNavi-v0"), {"train": range(5)})
    seeds.reset(options={"task": [3]})
    goals = []
    for _ in range(3):
        seeds.reset(options={"keep_task": True})
        goals.append(seeds.unwrapped._task.tolist())  # type: ignore[attr-defined]
    assert goals[0] == goals[1] == goals[2]


def test_seeds_that_travel_by_index_are_called_so() -> None:
    """Seed 16777216 is told as 0 then, and seed 5 as 4."""
    for seeds in (range(2**24, 2**24 + 4), range(2**60, 2**60 + 4)):
        tasks = {"train": seeds, "test": [5]}
        env = TaskSeedWrapper(gym.make("Pendulum-v1"), tasks)
        assert env.task_distribution.components == ("task index",)
    named = TaskTable({"train": ["red", "blue"]}, components=("colour",))
    assert named.distribution.components == ("colour",)
    huge = TaskTable({"train": [1e39, 1e40]}, components=("mass (kg)",))
    assert huge.distribution.components == ("task index",)


def test_equal_tasks_that_are_dicts_are_one_task() -> None:
    tasks = {"train": [{"x": np.ones(2)}, {"x": np.zeros(2)}], "test": [{"x": np.ones(2)}]}
    with pytest.warns(UserWarning, match="shares 1 of 1 tasks"):
        table = TaskTable(tasks)
    np.testing.assert_array_equal(table.distribution["test"].tasks, [[0.0]])


@pytest.mark.parametrize("after_reset", [False, True])
def test_after_a_reset_that_the_environment_refused_no_step_tells_its_task(
    after_reset: bool,
) -> None:
    """The environment may play the task from before: infos would tell another one than rewards."""
    env = TaskMethodWrapper(Strict(), {"train": [1.0, 2.0]}, after_reset=after_reset)
    env.reset(options={"task": [1.0]})
    with pytest.raises(KeyError, match="unknown reset options"):
        env.reset(options={"task": [2.0], "level": 3})
    with pytest.raises(ResetNeeded):
        env.step(1)
    env.reset(options={"task": [2.0]})
    assert reward(env) == 2.0

"""Splits that cannot be moved, tasks that a reset replaces, and test tasks that were trained on."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from ldm_envs import (
    FiniteTaskSet,
    IntervalTaskSet,
    TaskAttributeWrapper,
    TaskDistribution,
    TaskMethodWrapper,
    check_family,
)
from ldm_envs.split_overlap import warn_of_shared_tasks


class Reach(gym.Env[Any, Any]):
    """Rewards nearness to a goal, which ``redraws`` draws anew at each reset."""

    observation_space = spaces.Box(-10.0, 10.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, redraws: bool = False, keeps: Any = None) -> None:
        self.redraws, self.keeps = redraws, keeps
        self.goal: Any = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if self.redraws:
            self.goal = float(self.np_random.uniform(-1.0, 1.0))
        if self.keeps is not None:
            self.goal = self.keeps(self.goal)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        reward = -float(np.abs(np.asarray(action) - self.goal).sum())
        return np.zeros(1, np.float32), reward, False, False, {}


TASKS = {"train": [0.5, -0.5], "test": [0.9]}


@pytest.mark.parametrize(
    "make",
    [
        lambda: gym.make("LDM-GridNavi-v0"),
        lambda: gym.make("LDM-HalfCheetahVel-v0"),
        lambda: TaskAttributeWrapper(Reach(), TASKS, "goal"),
    ],
)
def test_the_split_of_an_environment_is_fixed(make: Any) -> None:
    """Its name changed, and tasks were drawn from the former split."""
    env = make()
    with pytest.raises(AttributeError, match=r"expected 'train', got 'test'.*with split='test'"):
        env.set_wrapper_attr("split", "test")
    again = copy.deepcopy(env)
    assert again.get_wrapper_attr("split") == env.get_wrapper_attr("split") == "train"
    task = again.reset(seed=0)[1]["task"]
    assert env.get_wrapper_attr("task_distribution")["train"].contains(task)


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync", "async"])
def test_the_split_of_a_batch_is_fixed(mode: str) -> None:
    env = gym.make_vec("LDM-GridNavi-v0", num_envs=2, vectorization_mode=mode)
    try:
        with pytest.raises(AttributeError, match="split is fixed"):
            if isinstance(env, (SyncVectorEnv, AsyncVectorEnv)):
                env.set_attr("split", "test")
            else:
                env.split = "test"  # type: ignore[attr-defined]
    finally:
        env.close()


def test_a_reset_that_replaces_the_attribute_is_noticed_and_the_way_out_works() -> None:
    """``info["task"]`` told the task that was set, and rewards were of the one that was drawn."""
    env = TaskAttributeWrapper(Reach(redraws=True), TASKS, "goal")
    with pytest.raises(ValueError, match=r"goal was set to .* before it and is .* after it") as e:
        env.reset(seed=0)
    way_out = str(e.value).rpartition("after the reset: ")[2].partition("; if it converts")[0]
    names = {"TaskMethodWrapper": TaskMethodWrapper, "env": Reach(redraws=True), "tasks": TASKS}
    mended = eval(way_out, names)
    for seed in range(5):
        task = mended.reset(seed=seed)[1]["task"]
        assert mended.step(np.zeros(1))[1] == -abs(float(task[0]))


@pytest.mark.parametrize("keeps", [np.float16, lambda goal: np.array([goal]), None])
def test_an_attribute_may_be_kept_in_another_type(keeps: Any) -> None:
    env = TaskAttributeWrapper(Reach(keeps=keeps), {"train": [0.1], "test": [0.2]}, "goal")
    assert env.reset(seed=0)[1]["task"] == np.float32(0.1)
    near = Reach(keeps=lambda goal: 1.02 * goal)  # more than any rounding
    env = TaskAttributeWrapper(near, {"train": [0.1], "test": [0.2]}, "goal")
    with pytest.raises(ValueError, match=r"reset\(\) replaced the task"):
        env.reset(seed=0)


def test_the_way_out_for_several_attributes_works_too() -> None:
    class Two(Reach):
        """A goal of two attributes, both redrawn."""

        mass: Any = 1.0

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            started = super().reset(seed=seed, options=options)
            self.goal, self.mass = self.np_random.uniform(size=2)
            return started

    tasks: Any = {"train": [(0.5, 2.0)], "test": [(0.9, 3.0)]}
    with pytest.raises(ValueError, match=r"replaced the task: goal was set to 0\.5") as error:
        TaskAttributeWrapper(Two(), tasks, ("goal", "mass")).reset(seed=0)
    way_out = str(error.value).rpartition("after the reset: ")[2].partition("; if it converts")[0]
    mended = eval(way_out, {"TaskMethodWrapper": TaskMethodWrapper, "env": Two(), "tasks": tasks})
    mended.reset(seed=0)
    assert (mended.unwrapped.goal, mended.unwrapped.mass) == (0.5, 2.0)


def test_an_attribute_that_the_reset_makes_is_told_how_to_set() -> None:
    class Makes(Reach):
        """Has no `spot` before its first reset, as many environments have no goal then."""

        spot: Any

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.spot = 9.0
            return super().reset(seed=seed, options=options)

    with pytest.raises(AttributeError, match="no attribute 'spot' before its first reset") as error:
        TaskAttributeWrapper(Makes(), TASKS, "spot")
    way_out = str(error.value).rpartition("after the reset: ")[2]
    mended = eval(way_out, {"TaskMethodWrapper": TaskMethodWrapper, "env": Makes(), "tasks": TASKS})
    task = mended.reset(seed=0)[1]["task"]
    assert np.float32(mended.unwrapped.spot) == task[0]


def test_an_attribute_that_the_reset_uses_up_is_as_good() -> None:
    class UsesUp(Reach):
        next_goal: Any = None

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.goal, self.next_goal = self.next_goal, None
            return super().reset(seed=seed, options=options)

    env = TaskAttributeWrapper(UsesUp(), TASKS, "next_goal")
    task = env.reset(seed=0)[1]["task"]
    assert env.unwrapped.goal == task[0]  # type: ignore[attr-defined]


def test_other_objects_are_compared_as_they_are() -> None:
    env = TaskAttributeWrapper(Reach(keeps=str), {"train": ["left"], "test": ["right"]}, "goal")
    env.reset(seed=0)
    env = TaskAttributeWrapper(
        Reach(keeps=lambda _: "up"), {"train": ["left"], "test": ["right"]}, "goal"
    )
    with pytest.raises(ValueError, match="goal was set to 'left' before it and is 'up' after it"):
        env.reset(seed=0)


class Writes(Reach):
    """Draws its goal into the array or the container that it has."""

    def __init__(self, write: Any) -> None:
        super().__init__()
        self.write = write

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        started = super().reset(seed=seed, options=options)
        self.write(self, self.np_random.uniform(-1.0, 1.0, 2))
        return started


def write_in_place(env: Any, goal: Any) -> None:
    env.goal[:] = goal


def write_anew(env: Any, goal: Any) -> None:
    env.goal = {"place": goal, "name": "left"}


def write_list(env: Any, goal: Any) -> None:
    env.goal = ["left", goal]


@pytest.mark.parametrize(
    ("write", "task"),
    [
        (write_in_place, np.ones(2)),
        (write_in_place, [1.0, 1.0]),
        (write_anew, {"place": np.ones(2), "name": "left"}),
        (write_list, ["left", np.ones(2)]),
    ],
)
def test_a_replaced_task_of_arrays_is_noticed(write: Any, task: Any) -> None:
    """Its array was written into, or it is a container of arrays: both passed for the same."""
    env = TaskAttributeWrapper(Writes(write), {"train": [task]}, "goal")
    with pytest.raises(ValueError, match=r"goal was set to .*1\..* before it and is .* after it"):
        env.reset(seed=0)
    kept = TaskAttributeWrapper(Writes(lambda env, goal: None), {"train": [task]}, "goal")
    kept.reset(seed=0)


def test_test_tasks_that_are_train_tasks_are_told() -> None:
    def make(split: str = "train") -> gym.Env[Any, Any]:
        tasks = {"train": range(100), "test": range(50, 150)}
        return gym.wrappers.TimeLimit(TaskAttributeWrapper(Reach(), tasks, "goal", split=split), 5)

    with pytest.warns(
        UserWarning, match=r"'test' shares 50 of 100 tasks with \"train\" \(such as \[50"
    ):
        make()
    with pytest.warns(UserWarning, match="shares 50 of 100 tasks"):
        check_family(make)


def test_only_common_tasks_are_told() -> None:
    low, high = IntervalTaskSet([(0.0, 1.0)]), IntervalTaskSet([(1.0, 2.0)])
    inside, both = FiniteTaskSet([[0.5], [1.5]]), IntervalTaskSet([(0.0, 2.0)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_shared_tasks(TaskDistribution({"train": low, "test": high, "all": both}, ("x",)))
        warn_of_shared_tasks(TaskDistribution({"test": low, "all": low}, ("x",)))
        for env_id in (one for one in gym.registry if one.startswith("LDM-")):
            env = gym.make(env_id)
            warn_of_shared_tasks(env.get_wrapper_attr("task_distribution"))
            env.close()
    with pytest.warns(UserWarning, match="'eval' shares .* of 64 tasks"):
        warn_of_shared_tasks(
            TaskDistribution({"train": low, "test": high, "eval": inside, "all": both}, ("x",))
        )


def test_a_shared_task_is_found_modulo_its_period() -> None:
    turn = [2 * np.pi]
    low, high = FiniteTaskSet([[0.0], [1.0]], turn), FiniteTaskSet([[2 * np.pi], [2.0]], turn)
    both = FiniteTaskSet([[0.0], [1.0], [2.0]], turn)
    sets = TaskDistribution({"train": low, "test": high, "all": both}, ("angle (rad)",))
    with pytest.warns(UserWarning, match="shares 1 of 2 tasks"):
        warn_of_shared_tasks(sets)

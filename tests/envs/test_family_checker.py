"""`check_family` finds each breach of the task protocol and says what to write."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from ldm_envs import (
    ENV_IDS,
    FamilyError,
    FiniteTaskSet,
    IntervalTaskSet,
    TaskDistribution,
    TaskMethodWrapper,
    check_family,
)

LINE = TaskDistribution(
    {
        "train": IntervalTaskSet([(-2, -1), (1, 2)]),
        "test": FiniteTaskSet([[0.5]]),
        "all": IntervalTaskSet([(-2, 2)]),
    },
    ("goal (m)",),
)


class Line(gym.Env[Any, Any]):
    """A right family; each subclass breaks one thing."""

    task_distribution = LINE

    def __init__(self, split: str = "train") -> None:
        self.split = split
        self.observation_space = spaces.Box(-5, 5, (1,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.task: Any = None

    def choose(self, options: dict[str, Any]) -> Any:
        if "task" in options:
            return self.task_distribution.validate(options["task"])
        if options.get("keep_task") and self.task is not None:
            return self.task
        return self.task_distribution[self.split].sample(self.np_random, 1)[0]

    def info(self) -> dict[str, Any]:
        return {"task": self.task.copy()}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.task = self.choose(options or {})
        self.x = self.np_random.uniform(-0.1, 0.1, 1).astype(np.float32)
        return self.x.copy(), self.info()

    def step(self, action: Any) -> Any:
        self.x = np.clip(self.x + action, -5, 5).astype(np.float32)
        return self.x.copy(), -abs(float(self.x[0] - self.goal())), False, False, self.info()

    def goal(self) -> float:
        return float(self.task[0])


class NoSplit(Line):
    def __init__(self) -> None:
        super().__init__()


class NoDistribution(Line):
    task_distribution = None  # type: ignore[assignment]


class Untold(Line):
    def info(self) -> dict[str, Any]:
        return {}


class IgnoresPin(Line):
    def choose(self, options: dict[str, Any]) -> Any:
        return super().choose({key: value for key, value in options.items() if key != "task"})


class IgnoresKeep(Line):
    def choose(self, options: dict[str, Any]) -> Any:
        return super().choose({key: value for key, value in options.items() if key == "task"})


class Refuses(Line):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if options:
            raise KeyError(f"unknown reset options {options}")
        return super().reset(seed=seed)


class Accepts(Line):
    """Takes any numbers for a task."""

    def choose(self, options: dict[str, Any]) -> Any:
        return np.array(options["task"]) if "task" in options else super().choose(options)


class OneForEver(Line):
    def choose(self, options: dict[str, Any]) -> Any:
        return super().choose(options) if options else np.float32([1.5])


class Aliased(Line):
    def info(self) -> dict[str, Any]:
        return {"task": self.task}


class Unseeded(Line):
    def choose(self, options: dict[str, Any]) -> Any:
        if options:
            return super().choose(options)
        return self.task_distribution[self.split].sample(np.random.default_rng(), 1)[0]


class OtherSplit(Line):
    def choose(self, options: dict[str, Any]) -> Any:
        return super().choose(options) if options else np.float32([self.np_random.uniform(-1, 1)])


class OnlySaysSo(Line):
    """Keeps the task in the infos, and draws what the reward depends on again."""

    hidden = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        result = super().reset(seed=seed, options=options)
        if (options or {}).get("keep_task"):
            self.hidden += 1.0
        else:
            self.hidden = 0.0
        return result

    def goal(self) -> float:
        return float(self.task[0]) + self.hidden


class KeepsIfSeeded(OnlySaysSo):
    """Does so only where the reset has no seed, as inside a meta-episode."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        result = super().reset(seed=seed, options=options)
        if seed is not None:
            self.hidden = 0.0
        return result


class Moves(Line):
    def step(self, action: Any) -> Any:
        self.task = self.task + np.float32(0.01)
        return super().step(action)


class Noisy(Line):
    def goal(self) -> float:
        return float(np.random.default_rng().normal())


class Pops(Line):
    """Takes its options out of the dict, which the next environment of a batch gets as well."""

    def choose(self, options: dict[str, Any]) -> Any:
        found = super().choose(options)
        options.pop("task", None)
        options.pop("keep_task", None)
        return found


class HarderTest(Line):
    """Its split chooses more than the tasks that are drawn, which evaluations do not see."""

    def goal(self) -> float:
        return super().goal() * (2.0 if self.split == "test" else 1.0)


class Vectors(Line):
    """A reward for each of two objectives, as mo-gymnasium has them."""

    def step(self, action: Any) -> Any:
        x, reward, *rest = super().step(action)
        return x, np.array([reward, 0.0]), *rest


class Rounds(Line):
    """Adds in an order that differs from episode to episode, as simulators that hash objects do."""

    n_resets = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.n_resets += 1
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        x, reward, *rest = super().step(action)
        return x, float(np.nextafter(reward, 9.0)) if self.n_resets % 2 else reward, *rest


class StaysPinned(Line):
    pinned: Any = None

    def choose(self, options: dict[str, Any]) -> Any:
        task = super().choose(options)
        self.pinned = task if "task" in options else self.pinned
        return task if self.pinned is None else self.pinned


def limited(cls: Any) -> Any:
    return lambda split: gym.wrappers.TimeLimit(cls(split=split), 10)


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (NoSplit, "takes `split`"),
        (NoDistribution, "must be a TaskDistribution"),
        (Untold, r"return observation, \{\"task\""),
        (IgnoresPin, "must be used as given"),
        (IgnoresKeep, "keep it"),
        (Refuses, "takes options="),
        (Accepts, "was accepted"),
        (OneForEver, "drew the same task"),
        (StaysPinned, "8 resets without options play that task as well"),
        (Aliased, "return copies"),
        (Unseeded, "seed first"),
        (OtherSplit, "not in that split"),
        (OnlySaysSo, "is drawn again"),
        (KeepsIfSeeded, "without a seed, as inside a meta-episode"),
        (Moves, "inside an episode"),
        (Noisy, "the second time"),
        (Vectors, "expected a number: weigh the parts"),
        (Pops, r"options = dict\(options or {}\)"),
        (HarderTest, r"earns other rewards with split='test' than with split='train'"),
    ],
)
def test_each_breach_is_an_error_that_says_what_to_write(cls: Any, says: str) -> None:
    with pytest.raises(FamilyError, match=says):
        check_family(limited(cls))


def test_a_family_that_draws_new_tasks_at_each_call_is_an_error_that_says_so() -> None:
    rng = np.random.default_rng(0)

    def goals(n: int) -> Any:
        return FiniteTaskSet(rng.uniform(-2, 2, (n, 1)).tolist())

    def interval(n: int) -> Any:
        return IntervalTaskSet([(0.0, float(rng.uniform(1, 2)))])

    for draw in (goals, interval):

        def make(split: str = "train", draw: Any = draw) -> Any:
            env = Line(split)
            train, test = draw(4), draw(2)
            everything = IntervalTaskSet([(-2, 2)])
            sets = {"train": train, "test": test, "all": everything}
            env.task_distribution = TaskDistribution(sets, ("goal (m)",))
            return gym.wrappers.TimeLimit(env, 8)

        with pytest.raises(FamilyError, match="different tasks of split 'train' at each call"):
            check_family(make)


def test_families_that_keep_the_protocol_pass_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_family(limited(Line))
        check_family(limited(Rounds))
        check_family(hidden_in_dict)
        for env_id in ENV_IDS:
            check_family(env_id, n_steps=30)


class Visible(Line):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        _, info = super().reset(seed=seed, options=options)
        return self.task.copy(), info


class VisibleInDict(Line):
    """A goal environment: what is shown has the goal beside it."""

    def __init__(self, split: str = "train") -> None:
        super().__init__(split)
        self.observation_space = self.shown_space(self.observation_space)

    def shown_space(self, box: Any) -> Any:
        return spaces.Dict({"observation": box, "desired_goal": box})

    def shown(self, x: Any) -> Any:
        return {"observation": x, "desired_goal": self.task.copy()}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        x, info = super().reset(seed=seed, options=options)
        return self.shown(x), info

    def step(self, action: Any) -> Any:
        x, *rest = super().step(action)
        return self.shown(x), *rest


class VisibleInTuple(VisibleInDict):
    def shown_space(self, box: Any) -> Any:
        return spaces.Tuple([box, spaces.Dict({"goal": box})])

    def shown(self, x: Any) -> Any:
        return x, {"goal": self.task.copy()}


def hidden_in_dict(split: str) -> Any:
    return gym.wrappers.FilterObservation(limited(VisibleInDict)(split), ["observation"])


class Sparse(Line):
    def step(self, action: Any) -> Any:
        return self.x.copy(), 0.0, False, False, self.info()


class OtherKey(Line):
    def info(self) -> dict[str, Any]:
        return {**super().info(), "success": False}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (limited(Visible), "not hidden"),
        (limited(VisibleInDict), "not hidden"),
        (limited(VisibleInTuple), "not hidden"),
        (limited(Sparse), "the same rewards"),
        (limited(OtherKey), "is_success"),
        (Line, "no step limit"),
    ],
)
def test_what_is_legal_but_unusual_is_a_warning(make: Any, says: str) -> None:
    with pytest.warns(UserWarning, match=says):
        check_family(make)


def test_an_environment_without_tasks_is_told_of_the_adapters() -> None:
    for make in ("CartPole-v1", lambda split: gym.make("CartPole-v1")):
        with pytest.raises(FamilyError, match="TaskMethodWrapper"):
            check_family(make)
    with pytest.raises(FamilyError, match="must return"):
        check_family(lambda split: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(FamilyError, match='named "train"'):
        env = lambda split: TaskMethodWrapper(  # noqa: E731
            gym.make("CartPole-v1"), {"some": [1, 2]}, lambda env, task: None, split="some"
        )
        check_family(env)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (limited(Line)("train"), "a function that makes an environment, got <TimeLimit<Line"),
        ("nowhere:make", "Cannot make 'nowhere:make': No module .* or a function itself"),
        ("math:make", "Cannot make 'math:make': .* or a function itself"),
        ("Nothing-v0", "Cannot make 'Nothing-v0': .*Expected a registered id"),
    ],
)
def test_what_makes_no_environment_is_told_what_does(make: Any, says: str) -> None:
    with pytest.raises(FamilyError, match=says):
        check_family(make)

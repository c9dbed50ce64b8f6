"""Environments as strangers write them, for whole evaluations."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from ldm_envs import FiniteTaskSet, TaskAttributeWrapper, TaskDistribution

HORIZON = 4


class Ends(gym.Env[Any, Any]):
    """Ends with success at step ``task``, and says at resets too that there is none yet."""

    task_distribution = TaskDistribution(
        {"train": FiniteTaskSet([[2.0], [9.0]]), "all": FiniteTaskSet([[2.0], [9.0]])}, ("step",)
    )
    observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, split: str = "train") -> None:
        self.split, self.task, self.t = split, np.zeros(1, np.float32), 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        options, self.t = options or {}, 0
        if "task" in options:
            self.task = np.array(options["task"], np.float32)
        elif not options.get("keep_task"):
            self.task = self.task_distribution[self.split].sample(self.np_random, 1)[0]
        return np.zeros(1, np.float32), {"task": self.task.copy(), "is_success": False}

    def step(self, action: Any) -> Any:
        self.t += 1
        success = self.t == int(self.task[0])
        infos = {"task": self.task.copy(), "is_success": success}
        return np.zeros(1, np.float32), 1.0, success, self.t == HORIZON, infos


def ends(split: str = "train") -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(Ends(split), HORIZON)


class Fades(Ends):
    """Succeeds in the first episode of a meta-episode only, and says so by 0 or 1."""

    episode = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.episode = self.episode + 1 if (options or {}).get("keep_task") else 0
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        *result, info = super().step(action)
        return *result, {**info, "is_success": int(info["is_success"] and self.episode == 0)}


def fades(split: str = "train") -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(Fades(split), HORIZON)


class SaysOnlySuccess(Ends):
    """Tells ``is_success`` at successes and at no other step, as many environments do."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        observation, info = super().reset(seed=seed, options=options)
        return observation, {"task": info["task"]}

    def step(self, action: Any) -> Any:
        *result, info = super().step(action)
        if float(np.ravel(action)[0]) <= 0.0 or not info["is_success"]:
            del info["is_success"]
        return *result, info


def says_only_success(split: str = "train") -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(SaysOnlySuccess(split), HORIZON)


def family(*splits: str, **attributes: Any) -> type[Ends]:
    """:class:`Ends` with these splits, of one task each: 1, 2, …"""
    tasks = {split: FiniteTaskSet([[float(i)]]) for i, split in enumerate(splits, 1)}
    sets = {**tasks, "all": FiniteTaskSet([[float(i)] for i in range(1, len(splits) + 1)])}
    return type(
        "Family", (Ends,), {"task_distribution": TaskDistribution(sets, ("step",)), **attributes}
    )


def three_splits(split: str = "train") -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(family("train", "test", "eval")(split), HORIZON)


def no_train_split(split: str = "test") -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(family("test")("test"), HORIZON)


def more_columns(split: str = "train") -> gym.Env[Any, Any]:
    return gym.wrappers.TimeAwareObservation(ends(split))


def other_bounds(split: str = "train") -> gym.Env[Any, Any]:
    return gym.wrappers.RescaleAction(ends(split), np.float32(-2.0), np.float32(2.0))


class Walk(Ends):
    """Walks over whole numbers from (0, 0); a task is a pair of them and success is to be there."""

    observation_space = gym.spaces.Box(0.0, 3.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    stride = 1.0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        _, info = super().reset(seed=seed, options=options)
        self.at = np.zeros(2, np.float32)
        return self.at.copy(), info

    def step(self, action: Any) -> Any:
        self.t += 1
        self.at[int(action)] = min(self.at[int(action)] + self.stride, 3.0)
        success = bool((self.at == self.task).all())
        infos = {"task": self.task.copy(), "is_success": success}
        return self.at.copy(), float(success), False, self.t == HORIZON, infos


def walk(components: tuple[str, str], far: float = 3.0, stride: float = 1.0) -> Any:
    """A family of walks whose tasks have these components, one of them being (far, 1)."""
    train, test = FiniteTaskSet([[1.0, 2.0], [far, 1.0]]), FiniteTaskSet([[2.0, 1.0]])
    sets = {"train": train, "test": test, "all": FiniteTaskSet([*train.tasks, *test.tasks])}
    attributes = {"task_distribution": TaskDistribution(sets, components), "stride": stride}
    made: type[Walk] = type("Walk", (Walk,), attributes)
    return lambda split="train": gym.wrappers.TimeLimit(made(split), HORIZON)


CELLS = ("x (cell)", "y (cell)")
cells, beyond, plane = walk(CELLS), walk(CELLS, far=4.0), walk(CELLS, stride=0.4)
counts = walk(("apples", "pears"))


def flat(split: str = "train") -> gym.Env[Any, Any]:
    """A grid that shows shares of its width."""
    env = cells(split)
    space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
    return gym.wrappers.TransformObservation(env, lambda at: at / 3, space)


class Uneven(Ends):
    """Ends after as many steps as the task says.

    Each step pays the number of the episode, counted from the one whose task was given. The longest
    task is a success at every step, the others never are.
    """

    _tasks = FiniteTaskSet([[1.0], [1.25], [1.5], [1.75], [4.0]])
    task_distribution = TaskDistribution({"train": _tasks, "all": _tasks}, ("steps",))
    n_resets = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.n_resets = 1 if options and "task" in options else self.n_resets + 1
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        self.t += 1
        infos = {"task": self.task.copy(), "is_success": float(self.task[0]) == 4.0}
        over = self.t == int(self.task[0])
        return np.zeros(1, np.float32), float(self.n_resets), over, False, infos


def uneven(split: str = "train") -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(Uneven(split), HORIZON)


class Buttons(gym.Env[Any, Any]):
    """Pays 1 for each press of the right one out of four buttons; shows nothing but the time."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(4)
    button, t = 0, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        pressed = bool(action == self.button)
        return np.array([self.t / 6], np.float32), float(pressed), False, False, {}


def buttons(split: str = "train") -> gym.Env[Any, Any]:
    tasks = {"train": [0, 1, 3], "test": [2]}
    env = gym.wrappers.TimeLimit(Buttons(), 6)
    return TaskAttributeWrapper(env, tasks, "button", split=split)

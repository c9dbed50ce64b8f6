"""Rows of tasks, and what breaks the task protocol is noticed."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from wrapper_stubs import ScriptedEnv, scripted_vector

from ldm_wrappers import (
    MultiEpisodeWrapper,
    TaskChangedError,
    TaskIgnoredError,
    TaskProtocolWarning,
    vector,
)
from ldm_wrappers.task_protocol import N_EQUAL_TASKS


class Paid(ScriptedEnv):
    """The reward is the task; a still agent's return tells which one it was."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        options = dict(options or {})
        if "task" in options:
            assert np.shape(options["task"]) == (1,)  # one row, never those of others
            options["task"] = options["task"][0]
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, self.task, terminated, truncated, info


def paid(kind: Any, n: int, **kwargs: Any) -> Any:
    return kind([lambda: Paid((2, 3))] * n, autoreset_mode=AutoresetMode.DISABLED, **kwargs)


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("wrap", ["rows", "meta"])
def test_each_environment_gets_its_row(kind: Any, wrap: str) -> None:
    n = 4
    inner = paid(kind, n)
    env: Any = (
        vector.TaskRowsWrapper(inner) if wrap == "rows" else vector.MultiEpisodeWrapper(inner, 2)
    )
    tasks = np.float32([[0.5], [0.25], [0.5], [-1.0]])
    observations, infos = env.reset(seed=7, options={"task": tasks})
    np.testing.assert_array_equal(infos["task"], tasks)
    np.testing.assert_array_equal(observations[:, 0], tasks[:, 0])
    for _ in range(3 if wrap == "meta" else 1):  # on into the second inner episode
        _, rewards, _, _, infos = env.step(np.zeros(n, np.int64))
        np.testing.assert_array_equal(rewards, tasks[:, 0])
    # a part of the batch, of which each has its row again
    mask = np.array([False, True, False, True])
    others = np.float32([[9], [2], [9], [3]])
    _, infos = env.reset(options={"task": others, "reset_mask": mask.copy()})
    np.testing.assert_array_equal(infos["task"][mask], others[mask])
    _, rewards, *_ = env.step(np.zeros(n, np.int64))
    np.testing.assert_array_equal(rewards, np.where(mask, others[:, 0], tasks[:, 0]))
    # one task for all, as before
    _, infos = env.reset(options={"task": np.float32([0.75])})
    np.testing.assert_array_equal(infos["task"], np.full((n, 1), 0.75, np.float32))
    with pytest.raises(ValueError, match=r"a row for each of 4 environments, got shape \(3, 1\)"):
        env.reset(options={"task": tasks[:3]})
    # Gymnasium's own error, whose class and text changed after 1.1
    with pytest.raises((ValueError, AssertionError), match=r"at least one True|contain a bool"):
        env.reset(options={"task": tasks, "reset_mask": np.zeros(n, bool)})
    env.close()


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("kept", [[True, False, True], [False, True, True]])
def test_keep_task_may_differ_between_environments(kind: Any, kept: list[bool]) -> None:
    env = vector.TaskRowsWrapper(paid(kind, 3))
    _, infos = env.reset(seed=0)
    before = infos["task"].copy()
    keep = np.array(kept)
    _, infos = env.reset(options={"keep_task": keep})
    np.testing.assert_array_equal((infos["task"] == before)[:, 0], keep)
    env.close()


class Outspoken(Paid):
    """Only tasks below 0 say so at their start."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        observation, info = super().reset(seed=seed, options=options)
        return observation, {**info, "below": True} if self.task < 0 else info


@pytest.mark.parametrize("tasks", [[-1.0, 1.0], [1.0, -1.0]])
def test_no_row_has_infos_of_another_rows_start(tasks: list[float]) -> None:
    """Batches begin as a whole, so the second row begins with the first one's task, too."""
    env = vector.TaskRowsWrapper(
        SyncVectorEnv([Outspoken] * 2, autoreset_mode=AutoresetMode.DISABLED)
    )
    _, infos = env.reset(options={"task": np.float32(tasks)[:, None]})
    below = [task < 0 for task in tasks]
    assert infos["_below"].tolist() == infos["below"].tolist() == below


def test_rows_leave_seeds_and_starts_as_each_environment_alone_has_them() -> None:
    def pendulum() -> gym.Env[Any, Any]:
        return gym.wrappers.TransformReward(gym.make("Pendulum-v1"), lambda r: r)

    class Pinned(gym.Wrapper[Any, Any, Any, Any]):
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            observation, info = self.env.reset(seed=seed)
            return observation, {**info, "task": np.float32(options["task"])}

    env = vector.TaskRowsWrapper(
        SyncVectorEnv([lambda: Pinned(pendulum())] * 3, autoreset_mode=AutoresetMode.DISABLED)
    )
    observations, _ = env.reset(seed=[5, 6, 7], options={"task": np.float32([[0], [1], [2]])})
    for row, seed in zip(observations, (5, 6, 7), strict=True):
        np.testing.assert_array_equal(row, pendulum().reset(seed=seed)[0])


def test_batched_environments_get_rows_as_they_are() -> None:
    env = vector.TaskRowsWrapper(
        gym.make_vec("LDM-GridNavi-v0", num_envs=2, autoreset_mode=AutoresetMode.DISABLED)
    )
    tasks = np.float32([[2, 2], [6, 0]])
    np.testing.assert_array_equal(env.reset(options={"task": tasks})[1]["task"], tasks)


# ------------------------------------------------------------------ noticing


class Forgetful(ScriptedEnv):
    """Draws a new task at every reset, as PointMaze does."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed)


class Moving(ScriptedEnv):
    """Its goal moves inside an episode, as PointMaze's with continuing_task does."""

    def step(self, action: Any) -> Any:
        if self.t == 1:
            self.task += 1.0
        return super().step(action)


class Constant(ScriptedEnv):
    """One task for ever, as environments that wait for set_task."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options={"task": 0.5})


class Silent(ScriptedEnv):
    """Tells no task."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options=options)[0], {}

    def step(self, action: Any) -> Any:
        return *super().step(action)[:-1], {}


class Named(ScriptedEnv):
    """Its tasks are strings."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        observation, info = super().reset(seed=seed, options=options)
        return observation, {"task": f"task {info['task'][0]}"}

    def step(self, action: Any) -> Any:
        *rest, info = super().step(action)
        return *rest, {"task": f"task {info['task'][0]}"}


class ForgetfulNamed(Named):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed)


def scalar(cls: Any, **kwargs: Any) -> Any:
    return MultiEpisodeWrapper(cls((3,)), 2, **kwargs)


def sync(cls: Any, **kwargs: Any) -> Any:
    env = SyncVectorEnv([lambda: cls((3,))] * 2, autoreset_mode=AutoresetMode.DISABLED)
    return vector.MultiEpisodeWrapper(env, 2, **kwargs)


def asynchronous(cls: Any, **kwargs: Any) -> Any:
    env = AsyncVectorEnv([lambda: cls((3,))] * 2, autoreset_mode=AutoresetMode.DISABLED)
    return vector.MultiEpisodeWrapper(env, 2, **kwargs)


def play(env: Any, n_steps: int = 8) -> None:
    env.reset(seed=0)
    action = np.zeros_like(np.asarray(env.action_space.sample()))
    for _ in range(n_steps):
        terminated, truncated = env.step(action)[2:4]
        if np.ndim(terminated) == 0 and (terminated or truncated):
            env.reset()
    env.close()


@pytest.mark.parametrize("make", [scalar, sync, asynchronous])
@pytest.mark.parametrize("cls", [Forgetful, Moving, ForgetfulNamed])
def test_a_task_that_changes_inside_a_meta_episode_is_an_error(make: Any, cls: Any) -> None:
    name = "AsyncVectorEnv" if make is asynchronous else cls.__name__
    with pytest.raises(TaskChangedError, match=rf"(?s){name}.*keep_task.*TaskSeedWrapper"):
        play(make(cls))
    play(make(cls, check_tasks=False))


@pytest.mark.parametrize("make", [scalar, sync])
@pytest.mark.parametrize("cls", [Forgetful, ForgetfulNamed])
def test_a_new_meta_episode_that_was_to_keep_the_task_and_did_not_is_an_error(
    make: Any, cls: Any
) -> None:
    env = make(cls)
    env.reset(seed=0)
    env.reset(options={"keep_task": False})
    with pytest.raises(TaskChangedError, match=r"(?s)at a reset that was to keep it.*keep_task"):
        env.reset(options={"keep_task": True})
    with pytest.raises(ResetNeeded):
        env.step(np.zeros_like(np.asarray(env.action_space.sample())))
    kept = make(ScriptedEnv)
    before = kept.reset(seed=0)[1]["task"]
    np.testing.assert_array_equal(kept.reset(options={"keep_task": True})[1]["task"], before)


@pytest.mark.parametrize("make", [scalar, sync])
def test_one_task_for_ever_and_untold_tasks_are_warned_of_once(make: Any) -> None:
    for cls, says in ((Constant, "all had the task"), (Silent, "reports no info")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            play(make(cls), 6 * 3 * N_EQUAL_TASKS)
        messages = [str(one.message) for one in caught if one.category is TaskProtocolWarning]
        assert len(messages) == 1 and says in messages[0] and cls.__name__ in messages[0]


@pytest.mark.parametrize("make", [scalar, sync, asynchronous])
@pytest.mark.parametrize("cls", [ScriptedEnv, Named])
def test_families_that_keep_the_protocol_hear_nothing(make: Any, cls: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play(make(cls), 6 * 3 * N_EQUAL_TASKS if make is not asynchronous else 20)
        env = make(cls)
        for _ in range(2 * N_EQUAL_TASKS):  # pinned tasks say nothing about draws
            if cls is ScriptedEnv:
                env.reset(options={"task": 0.5})
        env.close()


def test_a_resumed_meta_episode_is_not_compared_with_an_earlier_one() -> None:
    env = vector.MultiEpisodeWrapper(scripted_vector((3,), (3,)), 2)
    env.reset(seed=0)
    state = env.get_state()
    other = vector.MultiEpisodeWrapper(scripted_vector((3,), (3,)), 2)
    other.reset(seed=1)
    other.set_state(state)
    other.env.reset(seed=2)  # as if the environments' own state had been restored
    for _ in range(5):
        other.step(np.zeros(2, np.int64))


class Stubborn(ScriptedEnv):
    """Draws its task, whatever it is given."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        kept = {key: value for key, value in (options or {}).items() if key != "task"}
        return super().reset(seed=seed, options=kept)


@pytest.mark.parametrize("make", [scalar, sync, asynchronous])
def test_a_task_that_is_given_and_ignored_is_an_error(make: Any) -> None:
    env = make(Stubborn)
    with pytest.raises(TaskIgnoredError, match=r"'task': .0\.5.*reports info\['task'\].*ignores"):
        env.reset(seed=0, options={"task": 0.5})
    env.close()
    env = make(Stubborn, check_tasks=False)
    env.reset(seed=0, options={"task": 0.5})
    env.close()


def test_only_environments_that_are_reset_are_compared_with_their_tasks() -> None:
    env = sync(ScriptedEnv)
    env.reset(seed=0, options={"task": 0.5})
    options = {"task": 0.25, "reset_mask": np.array([False, True])}
    assert env.reset(options=options)[1]["task"][1] == 0.25


class Named(ScriptedEnv):
    """Its task is a dict of arrays."""

    goal = 1.0

    def told(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "task": {"goal": np.full(2, self.goal), "names": ["a", "b"]}}

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        observation, info = super().reset(seed=seed)
        return observation, self.told(info)

    def step(self, action: Any) -> Any:
        *rest, info = super().step(action)
        return *rest, self.told(info)


def test_tasks_that_are_dicts_of_arrays_are_compared() -> None:
    env = MultiEpisodeWrapper(Named((2,)), 2)
    env.reset(seed=0)
    env.reset(seed=0)
    for _ in range(2):
        env.step(0)
    env.env.goal = 2.0  # type: ignore[attr-defined]
    with pytest.raises(TaskChangedError, match="changed inside"):
        for _ in range(2):
            env.step(0)


class InPlace(ScriptedEnv):
    """Draws a new task at every reset, in the object that its infos contain."""

    def __init__(self, held: Any) -> None:
        super().__init__((2,))
        self.held = held

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        observation, _ = super().reset(seed=seed)
        self.held["x" if isinstance(self.held, dict) else 0] = self.task
        return observation, {"task": self.held}

    def step(self, action: Any) -> Any:
        return *super().step(action)[:-1], {"task": self.held}


HELD: list[Any] = [[0.0], np.zeros(1), np.array([0, "a"], object), {"x": 0.0}]


@pytest.mark.parametrize(  # SyncVectorEnv makes arrays of dicts
    ("held", "batched"), [(held, False) for held in HELD] + [(held, True) for held in HELD[:3]]
)
def test_tasks_that_change_in_place_are_compared_with_what_they_were(
    held: Any, batched: bool
) -> None:
    def make(n_episodes: int) -> Any:
        if not batched:
            return MultiEpisodeWrapper(InPlace(copy.copy(held)), n_episodes)
        makers = [lambda: InPlace(copy.copy(held))] * 2
        batch = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
        return vector.MultiEpisodeWrapper(batch, n_episodes)

    with pytest.raises(TaskChangedError, match="changed inside a meta-episode"):
        play(make(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "all had the task"
        play(make(1), 3 * N_EQUAL_TASKS)

"""Steps before the first reset and after an end, in environments that say nothing about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from reference_models import small_model

from ldm_wrappers import (
    BeliefObservationWrapper,
    BeliefPool,
    BeliefPublisherWrapper,
    ImaginaryRewardWrapper,
    MultiEpisodeWrapper,
    RL2ObservationWrapper,
    TaskIgnoredError,
    TrajectoryBuffer,
    vector,
)


class BareEnv(gym.Env[Any, Any]):
    """Three steps of reward 1; goes on when it is stepped at a wrong time, as many do."""

    observation_space = spaces.Box(-9.0, 9.0, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self) -> None:
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {"task": 1.0}

    def step(self, action: Any) -> Any:
        self.steps += 1
        observation = np.full(2, self.steps, np.float32)
        return observation, 1.0, self.steps == 3, False, {"task": 1.0}


MODEL = small_model(BareEnv())
BUFFER = TrajectoryBuffer(MODEL.spec, capacity=8, max_length=8)


def pool() -> BeliefPool:
    beliefs = BeliefPool(1, MODEL.config.latent_dim)
    beliefs.publish(0, np.zeros(MODEL.config.latent_dim))
    return beliefs


SCALAR: dict[str, Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]] = {
    "MultiEpisodeWrapper": lambda env: MultiEpisodeWrapper(env, 1),
    "BeliefObservationWrapper": lambda env: BeliefObservationWrapper(env, MODEL, buffer=BUFFER),
    "BeliefPublisherWrapper": lambda env: BeliefPublisherWrapper(
        env, MODEL, BeliefPool(1, MODEL.config.latent_dim), 0, buffer=BUFFER
    ),
    "ImaginaryRewardWrapper": lambda env: ImaginaryRewardWrapper(env, MODEL, pool()),
    "RL2ObservationWrapper": RL2ObservationWrapper,
}


@pytest.mark.filterwarnings("ignore:all meta-episodes")
@pytest.mark.parametrize("name", SCALAR)
def test_scalar_wrappers_notice_steps_outside_a_task(name: str) -> None:
    env = SCALAR[name](BareEnv())
    with pytest.raises(ResetNeeded, match=rf"{name}.step\(\) was called before the first reset"):
        env.step(0)
    for _ in range(2):
        env.reset()
        stored = len(BUFFER)
        assert [env.step(0)[2] for _ in range(3)] == [False, False, True]
        with pytest.raises(ResetNeeded, match=rf"{name}.step\(\) was called after the end"):
            env.step(0)
        assert len(BUFFER) == min(stored + (name.startswith("Belief")), 8)


@pytest.mark.parametrize("name", [name for name in SCALAR if name != "MultiEpisodeWrapper"])
def test_an_environment_that_resets_by_itself_is_noticed(name: str) -> None:
    """Its first step of the next episode would be taken for a transition of the last one."""
    env = SCALAR[name](gym.wrappers.Autoreset(MultiEpisodeWrapper(BareEnv(), 1)))
    env.reset()
    for _ in range(3):
        env.step(0)
    with pytest.raises(ResetNeeded, match="after the end of a task"):
        env.step(0)


class TwoSteps(gym.Wrapper[Any, Any, Any, Any]):
    """Takes every action twice, as wrappers that skip frames do."""

    def step(self, action: Any) -> Any:
        result = self.env.step(action)
        return result if result[2] or result[3] else self.env.step(action)


@pytest.mark.parametrize("name", [name for name in SCALAR if name != "MultiEpisodeWrapper"])
def test_a_restart_that_a_wrapper_hides_is_noticed(name: str) -> None:
    """A transition would lead from one inner episode into the next."""
    env = SCALAR[name](TwoSteps(MultiEpisodeWrapper(BareEnv(), 2)))
    env.reset()
    env.step(0)
    with pytest.raises(ValueError, match="led from inner episode 0 to 1 without showing"):
        env.step(0)  # steps 3, which ends the first episode, and 1 of the second one
    env = SCALAR[name](MultiEpisodeWrapper(TwoSteps(BareEnv()), 2))
    env.reset()
    assert [env.step(0)[4]["episode_index"] for _ in range(4)] == [0, 1, 1, 1]


def batch(mode: AutoresetMode, second: type[BareEnv]) -> VectorEnv[Any, Any, Any]:
    return SyncVectorEnv([BareEnv, second], autoreset_mode=mode)


VECTOR: dict[str, Callable[[type[BareEnv]], VectorEnv[Any, Any, Any]]] = {
    "MultiEpisodeWrapper": lambda second: vector.MultiEpisodeWrapper(
        batch(AutoresetMode.DISABLED, second), 1
    ),
    "BeliefObservationWrapper": lambda second: vector.BeliefObservationWrapper(
        batch(AutoresetMode.SAME_STEP, second), MODEL
    ),
    "ImaginaryRewardWrapper": lambda second: vector.ImaginaryRewardWrapper(
        batch(AutoresetMode.SAME_STEP, second), MODEL, n_mixture=1
    ),
}


class TwoStepsOfAll(VectorWrapper):
    """Takes every action twice, unless the first time ends a task."""

    def step(self, actions: Any) -> Any:
        result = self.env.step(actions)
        return result if (result[2] | result[3]).any() else self.env.step(actions)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", ["BeliefObservationWrapper", "ImaginaryRewardWrapper"])
def test_a_restart_that_a_wrapper_of_a_batch_hides_is_noticed(name: str, inside: bool) -> None:
    more = {"n_mixture": 1} if name == "ImaginaryRewardWrapper" else {}

    def wrapped(repeat: Any) -> Any:
        if inside:  # MultiEpisodeWrapper is around each environment
            makers = [lambda: MultiEpisodeWrapper(BareEnv(), 2)] * 2
            env: Any = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
        else:
            env = vector.MultiEpisodeWrapper(batch(AutoresetMode.DISABLED, BareEnv), 2)
        return getattr(vector, name)(repeat(env), MODEL, **more)

    env, actions = wrapped(TwoStepsOfAll), np.zeros(2, np.int64)
    env.reset()
    env.step(actions)
    with pytest.raises(ValueError, match=r"environment 0: .*led from inner episode 0 to 1 without"):
        env.step(actions)
    whole = wrapped(lambda env: env)
    whole.reset()
    shown = [whole.step(actions)[4]["episode_index"].tolist() for _ in range(4)]
    assert shown == [[0, 0], [0, 0], [1, 1], [1, 1]]
    middle = whole.get_state()
    later = [whole.step(actions)[4]["episode_index"].tolist() for _ in range(9)]
    assert [0, 0] in later and [1, 1] in later
    whole.set_state(middle)  # the environments are elsewhere: the next step tells where
    whole.step(actions)


@pytest.mark.filterwarnings("ignore:all meta-episodes")
@pytest.mark.parametrize("name", VECTOR)
def test_vector_wrappers_notice_a_step_before_the_first_reset(name: str) -> None:
    env = VECTOR[name](BareEnv)
    with pytest.raises(ResetNeeded, match=rf"{name}.step\(\) was called before the first reset"):
        env.step(np.zeros(2, np.int64))
    env.reset()
    for _ in range(5):  # they reset ended environments themselves
        env.step(np.zeros(2, np.int64))


@pytest.mark.filterwarnings("ignore:all meta-episodes")
def test_a_saved_meta_episode_goes_on_and_an_ended_one_does_not() -> None:
    source = MultiEpisodeWrapper(BareEnv(), 2)
    source.reset()
    running = source.get_state()
    for _ in range(6):
        source.step(0)
    ended = source.get_state()
    fresh = MultiEpisodeWrapper(BareEnv(), 2)
    fresh.set_state(running)
    fresh.step(0)
    fresh.set_state(ended)
    with pytest.raises(ResetNeeded, match="after the end"):
        fresh.step(0)
    del running["guard"]  # as former releases saved it
    fresh.set_state(running)
    fresh.step(0)


class Broken(BareEnv):
    """Its second reward is none, once."""

    healed = False

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        if self.steps == 2 and not self.healed:
            type(self).healed = True
            reward = np.nan
        return observation, reward, *rest


class Moved(BareEnv):
    """Another task after the first of its episodes, once."""

    healed = False

    def step(self, action: Any) -> Any:
        *rest, info = super().step(action)
        if self.steps == 3 and not self.healed:
            type(self).healed = True
            info = {"task": 2.0}
        return *rest, info


def until_an_error(env: Any, action: Any) -> None:
    with pytest.raises((FloatingPointError, RuntimeError), match=r"not finite|changed inside"):
        for _ in range(4):
            env.step(action)


@pytest.mark.filterwarnings("ignore:all meta-episodes")
@pytest.mark.parametrize(
    "name", ["MultiEpisodeWrapper", "BeliefObservationWrapper", "BeliefPublisherWrapper"]
)
def test_after_an_error_inside_a_step_scalar_wrappers_need_a_reset(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they record would have a hole, or join two steps to one."""
    for kind in (Broken, Moved):
        monkeypatch.setattr(kind, "healed", False)
    meta = name == "MultiEpisodeWrapper"
    env = MultiEpisodeWrapper(Moved(), 2) if meta else SCALAR[name](Broken())
    env.reset()
    until_an_error(env, 0)
    stored = len(BUFFER)
    with pytest.raises(ResetNeeded, match="after an error interrupted a step"):
        env.step(0)
    assert len(BUFFER) == stored
    env.reset()
    for _ in range(3):
        env.step(0)


@pytest.mark.filterwarnings("ignore:all meta-episodes")
@pytest.mark.parametrize("name", VECTOR)
def test_after_an_error_inside_a_step_vector_wrappers_need_a_reset(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = name == "MultiEpisodeWrapper"
    kind = Moved if meta else Broken
    monkeypatch.setattr(kind, "healed", False)
    mode = AutoresetMode.DISABLED if meta else AutoresetMode.SAME_STEP
    inner = SyncVectorEnv([kind, BareEnv], autoreset_mode=mode)
    buffer = TrajectoryBuffer(MODEL.spec, capacity=8, max_length=8)
    env: Any = {
        "MultiEpisodeWrapper": lambda: vector.MultiEpisodeWrapper(inner, 2),
        "BeliefObservationWrapper": lambda: vector.BeliefObservationWrapper(
            inner, MODEL, buffer=buffer
        ),
        "ImaginaryRewardWrapper": lambda: vector.ImaginaryRewardWrapper(
            inner, MODEL, n_mixture=1, buffer=buffer
        ),
    }[name]()
    env.reset()
    until_an_error(env, np.zeros(2, np.int64))
    with pytest.raises(ResetNeeded, match="after an error interrupted a step"):
        env.step(np.zeros(2, np.int64))
    assert len(buffer) == 0
    env.reset()
    for _ in range(3):
        env.step(np.zeros(2, np.int64))
    if not meta:  # whole trajectories: each next state is the next step's state
        rows = buffer.get(np.arange(len(buffer)))
        np.testing.assert_array_equal(rows.next_observations[:-1], rows.observations[1:])


@pytest.mark.filterwarnings("ignore:all meta-episodes")
def test_no_reset_of_some_stands_in_for_the_reset_of_all_that_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The records of the others would lack a step, or begin in the middle of an episode."""
    monkeypatch.setattr(Moved, "healed", False)
    inner = SyncVectorEnv([Moved, BareEnv], autoreset_mode=AutoresetMode.DISABLED)
    env = vector.MultiEpisodeWrapper(inner, 2)
    some = {"reset_mask": np.array([True, False])}
    with pytest.raises(ResetNeeded, match="leaves out environments before the first reset"):
        env.reset(options=dict(some))
    env.reset()
    until_an_error(env, np.zeros(2, np.int64))
    with pytest.raises(ResetNeeded, match="leaves out environments after an error"):
        env.reset(options=dict(some))
    env.reset()
    env.reset(options=dict(some))
    env.step(np.zeros(2, np.int64))


class Stuck(BareEnv):
    """Its second step fails, once, and moves nothing."""

    healed = False

    def step(self, action: Any) -> Any:
        if self.steps == 1 and not self.healed:
            type(self).healed = True
            raise RuntimeError("stuck")
        return super().step(action)


@pytest.mark.filterwarnings("ignore:all meta-episodes")
@pytest.mark.parametrize("name", VECTOR)
def test_an_error_after_which_some_environments_are_a_step_ahead_asks_for_a_reset(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next step would be recorded as one transition from where they were two steps before."""
    monkeypatch.setattr(Stuck, "healed", False)
    env = VECTOR[name](Stuck)
    env.reset()
    env.step(np.zeros(2, np.int64))
    with pytest.raises(RuntimeError, match="stuck"):
        env.step(np.zeros(2, np.int64))
    with pytest.raises(ResetNeeded, match="after an error interrupted a step"):
        env.step(np.zeros(2, np.int64))
    env.reset()
    for _ in range(5):
        env.step(np.zeros(2, np.int64))


class CutOff(BareEnv):
    """Raises ``error`` once, when it has just been moved by a ``where`` (a step or a reset)."""

    error: BaseException | None = None
    where = "step"

    @classmethod
    def _moved(cls, where: str) -> None:
        if where == cls.where and cls.error is not None:
            error, cls.error = cls.error, None
            raise error

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        result = super().reset(seed=seed)
        self._moved("reset")
        return result

    def step(self, action: Any) -> Any:
        result = super().step(action)
        self._moved("step")
        return result


ONE_OR_MORE: dict[str, tuple[Callable[[], Any], Any]] = {
    **{name: (lambda make=make: make(CutOff()), 0) for name, make in SCALAR.items()},
    **{
        f"vector {name}": (lambda make=make: make(CutOff), np.zeros(2, np.int64))
        for name, make in VECTOR.items()
    },
    "vector MultiEpisodeWrapper of one": (
        lambda: vector.MultiEpisodeWrapper(
            SyncVectorEnv([CutOff], autoreset_mode=AutoresetMode.DISABLED), 1
        ),
        np.zeros(1, np.int64),
    ),
    "vector BeliefObservationWrapper of one": (
        lambda: vector.BeliefObservationWrapper(
            SyncVectorEnv([CutOff], autoreset_mode=AutoresetMode.SAME_STEP), MODEL
        ),
        np.zeros(1, np.int64),
    ),
}


@pytest.mark.filterwarnings("ignore:all meta-episodes")
@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("reset", ValueError("cut off")),
        ("reset", KeyboardInterrupt()),
        ("step", RuntimeError("cut off")),
        ("step", KeyboardInterrupt()),
    ],
)
@pytest.mark.parametrize("name", ONE_OR_MORE)
def test_after_an_error_that_leaves_the_environment_somewhere_else_a_reset_is_needed(
    name: str, where: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next step was recorded as a transition from where the environment had been before."""
    make, action = ONE_OR_MORE[name]
    env = make()
    env.reset()
    env.step(action)
    monkeypatch.setattr(CutOff, "where", where)
    monkeypatch.setattr(CutOff, "error", error)
    with pytest.raises(type(error)):
        env.reset() if where == "reset" else env.step(action)
    with pytest.raises(ResetNeeded, match="after an error interrupted a step or a reset"):
        env.step(action)
    env.reset()
    env.step(action)


@pytest.mark.filterwarnings("ignore:all meta-episodes")
@pytest.mark.parametrize("batched", [False, True])
def test_after_a_reset_to_a_task_that_is_ignored_another_one_is_needed(batched: bool) -> None:
    """Wrappers around it had not heard of the new task."""
    env: Any = MultiEpisodeWrapper(BareEnv(), 2)
    if batched:
        env = VECTOR["MultiEpisodeWrapper"](BareEnv)
    action = np.zeros(2, np.int64) if batched else 0
    env.reset()
    env.step(action)
    with pytest.raises(TaskIgnoredError):
        env.reset(options={"task": 5.0})
    with pytest.raises(ResetNeeded, match="interrupted a step or a reset"):
        env.step(action)

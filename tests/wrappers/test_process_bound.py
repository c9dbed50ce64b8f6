"""Live objects in other processes: an error instead of private copies nobody reads."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv
from reference_models import small_model
from wrapper_stubs import ScriptedEnv

from ldm_wrappers import (
    BeliefObservationWrapper,
    BeliefPool,
    BeliefPublisherWrapper,
    ImaginaryRewardWrapper,
    MultiEpisodeWrapper,
    SavedBeliefs,
    TrajectoryBuffer,
)
from ldm_wrappers.latent_dynamics import BeliefTracker

COPY = "is a private copy in process"


def meta() -> gym.Env[Any, Any]:
    return MultiEpisodeWrapper(ScriptedEnv((2,)), 2)


def makers() -> dict[str, Callable[[], gym.Env[Any, Any]]]:
    model = small_model(meta())
    pool = BeliefPool(1, model.config.latent_dim)
    buffer = TrajectoryBuffer(model.spec, capacity=3, max_length=4)
    made = BeliefObservationWrapper(meta(), model)
    saved = SavedBeliefs(np.zeros((2, 3, model.config.latent_dim)))
    return {
        "publisher": lambda: BeliefPublisherWrapper(meta(), model, pool, 0, buffer=buffer),
        "imagination from a pool": lambda: ImaginaryRewardWrapper(meta(), model, pool, seed=0),
        "saved beliefs": lambda: ImaginaryRewardWrapper(meta(), model, saved, seed=0),
        "belief": lambda: BeliefObservationWrapper(meta(), model),
        "made before": lambda: made,
        "pool alone": lambda: BeliefPublisherWrapper(meta(), copy.deepcopy(model), pool, 0),
        "buffer alone": lambda: BeliefObservationWrapper(
            meta(), copy.deepcopy(model), buffer=buffer
        ),
    }


def play(env: Any) -> None:
    env.reset(seed=0)
    for _ in range(4):
        env.step(np.array([1]))


@pytest.mark.parametrize("name", list(makers()))
@pytest.mark.filterwarnings("ignore")
def test_the_first_use_in_another_process_says_so(name: str) -> None:
    env = AsyncVectorEnv([makers()[name]])
    try:
        with pytest.raises(RuntimeError, match=COPY):
            play(env)
    finally:
        env.close(terminate=True)


class OwnModel:
    """Makes all it needs where it runs."""

    def __call__(self) -> gym.Env[Any, Any]:
        return BeliefObservationWrapper(meta(), small_model(meta()))


class CopiedModel:
    """Gets a model and takes a copy that is meant to stay as it is."""

    def __init__(self) -> None:
        self.model = small_model(meta())

    def __call__(self) -> gym.Env[Any, Any]:
        return BeliefObservationWrapper(meta(), copy.deepcopy(self.model))


@pytest.mark.parametrize("make", [OwnModel(), CopiedModel()])
def test_what_belongs_to_the_process_works_there(make: Callable[[], gym.Env[Any, Any]]) -> None:
    env = AsyncVectorEnv([make])
    play(env)
    env.close()


def use(things: dict[str, Any], answers: Any) -> None:
    for kind, thing in things.items():
        try:
            thing.check_process()
            answers.put((kind, "works"))
        except RuntimeError as error:
            answers.put((kind, str(error)))


def test_spawned_processes_get_copies_too() -> None:
    model = small_model(ScriptedEnv())
    things: dict[str, Any] = {
        "model": model,
        "pool": BeliefPool(2, 3),
        "buffer": TrajectoryBuffer(model.spec, capacity=2, max_length=2),
        "tracker": BeliefTracker(model, 2),
    }
    for thing in things.values():
        pickled = pickle.loads(pickle.dumps(thing))  # as from a file, in the same process
        pickled.check_process()
        copy.deepcopy(thing).check_process()
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    child = context.Process(target=use, args=(things, answers))
    child.start()
    said = dict(answers.get(timeout=100) for _ in things)
    child.join()
    assert set(said) == set(things) and all(COPY in answer for answer in said.values())


def test_a_loaded_object_belongs_to_who_loads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = BeliefPool(2, 3)
    object.__setattr__(pool, "_owner", 1)  # made elsewhere, and that process is no parent
    pickle.loads(pickle.dumps(pool)).publish(0, np.ones(3))
    with pytest.raises(RuntimeError, match=COPY):
        pool.publish(0, np.ones(3))


def test_a_copy_is_the_whole_model() -> None:
    model = small_model(ScriptedEnv())
    other = copy.deepcopy(model)
    for name, value in model.state_dict().items():
        assert other.state_dict()[name].data_ptr() != value.data_ptr()
        np.testing.assert_array_equal(other.state_dict()[name], value)
    assert spaces.Discrete(3).n == other.spec.n_actions

"""Wrappers in the wrong order, or twice, are an error rather than another meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from wrapper_stubs import ScriptedEnv

import ldm_envs
from ldm_wrappers import (
    BeliefObservationWrapper,
    BeliefPool,
    BeliefPublisherWrapper,
    ImaginaryRewardWrapper,
    LatentDynamics,
    MultiEpisodeWrapper,
    RL2ObservationWrapper,
    SavedBeliefs,
    TrajectoryBuffer,
    vector,
)

assert ldm_envs.__name__  # registers the ids
GRID = "LDM-GridNavi-v0"
ENV = ScriptedEnv((3,))
MODEL = LatentDynamics(ENV.observation_space, ENV.action_space)
SIZE = MODEL.config.latent_dim
BELIEFS = SavedBeliefs(np.zeros((4, 7, SIZE)))


def imaginary(env: Any) -> Any:
    return ImaginaryRewardWrapper(env, MODEL, BELIEFS)


def publishing(env: Any) -> Any:
    return BeliefPublisherWrapper(env, MODEL, BeliefPool(1, SIZE), 0)


INNER: dict[str, Callable[[Any], Any]] = {
    "ImaginaryRewardWrapper": imaginary,
    "BeliefPublisherWrapper": publishing,
    "BeliefObservationWrapper": lambda env: BeliefObservationWrapper(env, MODEL),
    "RL2ObservationWrapper": RL2ObservationWrapper,
    "MultiEpisodeWrapper": lambda env: MultiEpisodeWrapper(env, 2),
}


@pytest.mark.parametrize("name", INNER)
def test_what_lasts_a_task_is_refused_inside_meta_episodes(name: str) -> None:
    wrapped = INNER[name](ScriptedEnv((3,)))
    with pytest.raises(ValueError, match=rf"got {name} inside.*expected {name} around"):
        MultiEpisodeWrapper(wrapped, 2)
    makers = [lambda: INNER[name](ScriptedEnv((3,)))] * 2
    batch = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match=rf"got {name} inside"):
        vector.MultiEpisodeWrapper(batch, 2)


def batched(env: Any) -> Any:
    return vector.ImaginaryRewardWrapper(env, MODEL, n_mixture=1)


def test_rewards_are_imaginary_once() -> None:
    inside = imaginary(MultiEpisodeWrapper(ScriptedEnv((3,)), 2))
    for wrap in (imaginary, publishing):
        with pytest.raises(ValueError, match=r"got ImaginaryRewardWrapper .*replaced only once"):
            wrap(inside)
    batch = SyncVectorEnv([lambda: ScriptedEnv((3,))] * 3, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="replaced only once"):
        batched(batched(vector.MultiEpisodeWrapper(batch, 2)))
    makers = [lambda: imaginary(MultiEpisodeWrapper(ScriptedEnv((3,)), 2))] * 3
    one = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match="replaced only once"):
        batched(one)


def small_buffer() -> TrajectoryBuffer:
    return TrajectoryBuffer(MODEL.spec, capacity=4, max_length=6)


def test_a_buffer_holds_each_trajectory_once() -> None:
    pool, spare = BeliefPool(1, SIZE), small_buffer()
    buffer = small_buffer()

    def keeping() -> Any:
        inside = MultiEpisodeWrapper(ScriptedEnv((3,)), 2)
        return BeliefPublisherWrapper(inside, MODEL, pool, 0, buffer=buffer)

    kept = keeping()
    with pytest.raises(ValueError, match=r"buffer of BeliefPublisherWrapper inside.*twice"):
        BeliefPublisherWrapper(kept, MODEL, pool, 0, buffer=buffer)
    with pytest.raises(ValueError, match="each trajectory twice"):
        BeliefObservationWrapper(kept, MODEL, buffer=buffer)
    batch = SyncVectorEnv([keeping] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    for wrap in (vector.BeliefObservationWrapper, vector.ImaginaryRewardWrapper):
        more = {"n_mixture": 1} if wrap is vector.ImaginaryRewardWrapper else {}
        with pytest.raises(ValueError, match="each trajectory twice"):
            wrap(batch, MODEL, buffer=buffer, **more)
        wrap(batch, MODEL, **more)
    BeliefObservationWrapper(kept, MODEL, buffer=spare)


def test_no_buffer_holds_imaginary_trajectories() -> None:
    """LDM on variBAD by hand: the mixture workers' rewards would train the VAE."""
    batch = SyncVectorEnv([lambda: ScriptedEnv((3,))] * 3, autoreset_mode=AutoresetMode.DISABLED)
    meta, buffer = vector.MultiEpisodeWrapper(batch, 2), small_buffer()
    imagined = vector.ImaginaryRewardWrapper(meta, MODEL, n_mixture=1, buffer=buffer)
    for second in (buffer, small_buffer()):
        with pytest.raises(ValueError, match=r"around ImaginaryRewardWrapper.*buffer=None here"):
            vector.BeliefObservationWrapper(imagined, MODEL, buffer=second)
    vector.BeliefObservationWrapper(imagined, MODEL)


def test_layers_in_other_processes_are_seen() -> None:
    """And processes without such a layer go on."""
    once = [lambda: RL2ObservationWrapper(MultiEpisodeWrapper(ScriptedEnv((3,)), 2))] * 2
    env: Any = AsyncVectorEnv(once, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(
        ValueError, match=r"has the previous action.* from a wrapper in the worker processes"
    ):
        vector.RL2ObservationWrapper(env)
    env.close()
    # another one: in Gymnasium 1.1 a wrapper that was refused closes what it got
    env = AsyncVectorEnv(once, autoreset_mode=AutoresetMode.SAME_STEP)
    model = LatentDynamics(env.single_observation_space, ENV.action_space)
    with pytest.raises(ValueError, match=r"got a wrapper in the worker processes .* inside"):
        vector.BeliefObservationWrapper(env, model)
    env.close()
    single: list[Callable[[], Any]] = [
        lambda: ScriptedEnv((3,)),
        lambda: imaginary(ScriptedEnv((3,))),
    ]
    for makers in (single, single[::-1]):  # in some processes only
        env = AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
        with pytest.raises(ValueError, match="replaced only once"):
            batched(env)
        env.close()
        env, buffer = AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP), small_buffer()
        with pytest.raises(ValueError, match="rewards are imaginary"):
            vector.BeliefObservationWrapper(env, MODEL, buffer=buffer)
        env.close()
    lasting = [lambda: RL2ObservationWrapper(ScriptedEnv((3,)))] * 2
    env = AsyncVectorEnv(lasting, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="restarts at every reset"):
        vector.MultiEpisodeWrapper(env, 2)
    env.close()
    plain = [lambda: ScriptedEnv((3,))] * 2
    env = AsyncVectorEnv(plain, autoreset_mode=AutoresetMode.DISABLED)
    whole = vector.RL2ObservationWrapper(vector.MultiEpisodeWrapper(env, 2))
    assert whole.reset(seed=0)[0].shape == whole.observation_space.shape
    whole.close()


def columns_of(kind: str, env: Any, inside: type[Any]) -> Any:
    """A belief of the whole observation needs a model of its own."""
    if kind == "RL2":
        return inside(env)
    single = getattr(env, "single_observation_space", env.observation_space)
    return inside(env, LatentDynamics(single, ENV.action_space))


@pytest.mark.parametrize("kind", ["RL2", "Belief"])
def test_columns_join_an_observation_once(kind: str) -> None:
    """Twice, they would be there twice without a word."""
    name = f"{kind}ObservationWrapper"
    scalar = {"RL2": RL2ObservationWrapper, "Belief": BeliefObservationWrapper}[kind]
    match = rf"{name} got .*{name}.*already has .* from {name}.*leave one of them out"

    def make() -> Any:
        return columns_of(kind, MultiEpisodeWrapper(ScriptedEnv((3,)), 2), scalar)

    once = make()
    with pytest.raises(ValueError, match=match):
        columns_of(kind, once, scalar)
    with pytest.raises(ValueError, match=match):  # also under other wrappers
        columns_of(kind, gym.wrappers.TimeLimit(once, 4), scalar)
    batched = getattr(vector, name)
    batch = SyncVectorEnv([lambda: ScriptedEnv((3,))] * 2, autoreset_mode=AutoresetMode.DISABLED)
    both = columns_of(kind, vector.MultiEpisodeWrapper(batch, 2), batched)
    with pytest.raises(ValueError, match=match):
        columns_of(kind, both, batched)
    singles = SyncVectorEnv([make] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match="already has"):
        columns_of(kind, singles, batched)


@pytest.mark.parametrize("kind", ["RL2", "Belief", "Task"])
def test_a_vae_reads_states_only(kind: str) -> None:
    """Around joined columns it would read the real reward that a mixture worker is not paid."""
    same, name = AutoresetMode.SAME_STEP, f"{kind}ObservationWrapper"
    makers = [lambda: MultiEpisodeWrapper(ScriptedEnv((3,)), 2)] * 3
    batch: Any = SyncVectorEnv(makers, autoreset_mode=same)
    match = rf"got {name} inside.*part of the state.*expected {name} around"
    if kind == "Task":
        joined = vector.TaskObservationWrapper(batch, 1)
    else:
        joined = columns_of(kind, batch, getattr(vector, name))
    model = LatentDynamics(joined.single_observation_space, ENV.action_space)
    wraps: list[Callable[[], Any]] = [
        lambda: vector.ImaginaryRewardWrapper(joined, model, n_mixture=1)
    ]
    if kind != "Belief":  # twice, which is another message
        wraps.append(lambda: vector.BeliefObservationWrapper(joined, model))
    if kind != "Task":  # there is none for single environments
        scalar = {"RL2": RL2ObservationWrapper, "Belief": BeliefObservationWrapper}[kind]
        one = columns_of(kind, makers[0](), scalar)
        wraps.append(lambda: ImaginaryRewardWrapper(one, model, BELIEFS))
        wraps.append(lambda: BeliefPublisherWrapper(one, model, BeliefPool(1, SIZE), 0))
    if kind == "RL2":
        wraps.append(lambda: BeliefObservationWrapper(one, model))
    for wrap in wraps:
        with pytest.raises(ValueError, match=match):
            wrap()


def test_columns_of_several_kinds_are_joined() -> None:
    belief = BeliefObservationWrapper(ScriptedEnv((3,)), MODEL)
    assert RL2ObservationWrapper(belief).observation_space.shape[0] > 2 * SIZE
    same = AutoresetMode.SAME_STEP
    batch = SyncVectorEnv([lambda: ScriptedEnv((3,))] * 2, autoreset_mode=same)
    told = vector.TaskObservationWrapper(batch, 1)
    assert vector.RL2ObservationWrapper(told).single_observation_space.shape[0] > 2
    with pytest.raises(ValueError, match="already has the task from TaskObservationWrapper"):
        vector.TaskObservationWrapper(told, 1)


@pytest.mark.parametrize("kind", ["NormalizeReward", "NormalizeObservation"])
@pytest.mark.parametrize("meta", ["none", "inside", "around"])
@pytest.mark.filterwarnings("ignore:.*around a single environment")
def test_a_vae_does_not_read_what_is_scaled_by_running_statistics(kind: str, meta: str) -> None:
    """GridNavi pays -0.1 at every step; as NormalizeReward has it, -17, then -2, then -1.2."""
    scale = getattr(gym.wrappers, kind)
    if meta == "around":
        one: Any = MultiEpisodeWrapper(scale(gym.make(GRID)), 2)
    else:
        one = scale(gym.make(GRID) if meta == "none" else MultiEpisodeWrapper(gym.make(GRID), 2))
    model = LatentDynamics(one.observation_space, one.action_space)
    size = model.config.latent_dim
    saved = SavedBeliefs(np.zeros((1, 1, size), np.float32))
    pool = BeliefPool(1, size)
    wraps: dict[str, Any] = {
        "BeliefObservationWrapper": lambda: BeliefObservationWrapper(one, model),
        "BeliefPublisherWrapper": lambda: BeliefPublisherWrapper(one, model, pool, 0),
        "ImaginaryRewardWrapper": lambda: ImaginaryRewardWrapper(one, model, saved),
    }
    for name, wrap in wraps.items():
        with pytest.raises(ValueError, match=rf"{name} got {kind} inside.* update_running_mean"):
            wrap()
    scale_layer = one.env if meta == "around" else one
    scale_layer.update_running_mean = False
    for wrap in wraps.values():
        wrap()  # a fixed scale


def test_nor_does_the_vae_of_a_batch() -> None:
    batch = gym.make_vec(GRID, num_envs=2, autoreset_mode="Disabled")
    scaled = gym.wrappers.vector.NormalizeReward(vector.MultiEpisodeWrapper(batch, 2))
    model = LatentDynamics(batch.single_observation_space, batch.single_action_space)
    with pytest.raises(ValueError, match="BeliefObservationWrapper got NormalizeReward inside"):
        vector.BeliefObservationWrapper(scaled, model)
    with pytest.raises(ValueError, match="ImaginaryRewardWrapper got NormalizeReward inside"):
        vector.ImaginaryRewardWrapper(scaled, model, n_mixture=1)


@pytest.mark.parametrize("only_first", [False, True])
@pytest.mark.filterwarnings("ignore:.*around a single environment")
def test_nor_what_worker_processes_scale(only_first: bool) -> None:
    scale: Any = gym.wrappers.NormalizeReward
    makers = [lambda: scale(gym.make(GRID)), lambda: gym.make(GRID)]

    def batch() -> AsyncVectorEnv:
        envs = makers if only_first else makers[:1] * 2
        return AsyncVectorEnv(envs, autoreset_mode=AutoresetMode.DISABLED)

    first, second = batch(), batch()  # Gymnasium 1.1 closes that of a wrapper that is refused
    model = LatentDynamics(first.single_observation_space, first.single_action_space)
    meta = vector.MultiEpisodeWrapper(first, 2)
    with pytest.raises(ValueError, match=r"got NormalizeObservation or NormalizeReward \(in the w"):
        vector.ImaginaryRewardWrapper(meta, model, n_mixture=1)
    if not only_first:
        second.set_attr("update_running_mean", False)
        meta = vector.MultiEpisodeWrapper(second, 2)
        assert vector.ImaginaryRewardWrapper(meta, model, n_mixture=1).reset(seed=0)
    for env in (first, second):
        env.close()

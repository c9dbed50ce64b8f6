"""A8: the VAE buffer holds the true (s, a, r, s') of whole meta-episodes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from reference_models import small_model
from wrapper_stubs import (
    PlainWorker,
    ScriptedEnv,
    Transition,
    actions_for,
    scripted_vector,
    seeds_of,
)

import ldm_envs  # noqa: F401
from ldm_wrappers import (
    BeliefObservationWrapper,
    BeliefPool,
    BeliefPublisherWrapper,
    MultiEpisodeWrapper,
    TrajectoryBuffer,
    vector,
)


def stored(buffer: TrajectoryBuffer) -> list[tuple[Any, ...]]:
    """What the buffer holds, as a sorted list of trajectories of tuples."""
    batch = buffer.get(np.arange(len(buffer)))
    arrays = [array.numpy() for array in batch[:4]]
    trajectories = []
    for index, length in enumerate(batch.lengths.tolist()):
        rows = [[array[t, index].ravel().tolist() for array in arrays] for t in range(length)]
        assert all((array[length:, index] == 0.0).all() for array in arrays)
        trajectories.append(rows)
    return sorted(trajectories)


def by_hand(workers: list[PlainWorker]) -> list[Any]:
    """The same of plain workers."""

    def row(t: Transition) -> list[list[float]]:
        parts = (t.observation, t.action, t.reward, t.next_observation)
        return [np.ravel(part).astype(np.float32).tolist() for part in parts]

    return sorted([row(t) for t in run] for worker in workers for run in worker.finished)


@pytest.mark.parametrize("wrapper", ["imaginary", "belief"])
@pytest.mark.parametrize("family", ["GridNavi", "scripted discrete", "scripted box"])
def test_vector_buffers_hold_true_transitions(wrapper: str, family: str) -> None:
    lengths = [(3, 5, 2), (4,), (1, 2), (6, 3)]
    if family == "GridNavi":
        base: Any = gym.make_vec(
            "LDM-GridNavi-v0", 4, max_episode_steps=5, autoreset_mode=AutoresetMode.DISABLED
        )
        plain = [gym.make("LDM-GridNavi-v0", max_episode_steps=5) for _ in range(4)]
    else:
        action = family.split()[1]
        base = scripted_vector(*lengths, action=action)
        plain = [ScriptedEnv(one, action=action) for one in lengths]
    meta = vector.MultiEpisodeWrapper(base, 3)
    model = small_model(meta)
    buffer = TrajectoryBuffer(model.spec, capacity=50, max_length=16)
    n_normal = 4
    env: Any = vector.BeliefObservationWrapper(meta, model, buffer=buffer)
    if wrapper == "imaginary":
        env = vector.ImaginaryRewardWrapper(meta, model, n_mixture=1, buffer=buffer)
        n_normal = 3
    env.reset(seed=7)
    workers = [
        PlainWorker(one, 3, seed) for one, seed in zip(plain, seeds_of(7, len(plain)), strict=True)
    ]
    for actions in actions_for(env, 50):
        env.step(actions)
        for worker, one in zip(workers, actions, strict=True):
            worker.step(one)
    expected = by_hand(workers[:n_normal])
    assert len(expected) > 8
    assert stored(buffer) == expected
    # a meta-episode of N·H steps is one trajectory
    if family == "GridNavi":
        assert {len(run) for run in expected} == {15}


def test_a_batch_may_have_inner_episodes_in_some_environments_only() -> None:
    """Whose true next states are where the wrapper keeps them, and of the others in final_obs."""
    lengths, n_episodes = [(3, 5, 2), (4,), (2, 3)], [3, 1, 3]
    makers = [
        lambda one=one, n=n: MultiEpisodeWrapper(ScriptedEnv(one), n) if n > 1 else ScriptedEnv(one)
        for one, n in zip(lengths, n_episodes, strict=True)
    ]
    base = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    model = small_model(base)
    buffer = TrajectoryBuffer(model.spec, capacity=50, max_length=16)
    env = vector.BeliefObservationWrapper(base, model, buffer=buffer)
    env.reset(seed=7)
    workers = [
        PlainWorker(ScriptedEnv(one), n, seed)
        for one, n, seed in zip(lengths, n_episodes, seeds_of(7, 3), strict=True)
    ]
    for actions in actions_for(env, 30):
        env.step(actions)
        for worker, one in zip(workers, actions, strict=True):
            worker.step(one)
    assert all(len(worker.finished) > 1 for worker in workers)
    assert stored(buffer) == by_hand(workers)


@pytest.mark.parametrize("wrapper", ["publisher", "belief"])
@pytest.mark.parametrize("family", ["GridNavi", "scripted"])
def test_scalar_buffers_hold_true_transitions(wrapper: str, family: str) -> None:
    def make() -> gym.Env[Any, Any]:
        if family == "scripted":
            return ScriptedEnv((3, 5, 2))
        return gym.make("LDM-GridNavi-v0", max_episode_steps=5)

    meta = MultiEpisodeWrapper(make(), 3)
    model = small_model(meta)
    buffer = TrajectoryBuffer(model.spec, capacity=50, max_length=16)
    env: Any = BeliefObservationWrapper(meta, model, buffer=buffer)
    if wrapper == "publisher":
        env = BeliefPublisherWrapper(meta, model, BeliefPool(1, 3), 0, buffer=buffer)
    env.reset(seed=7)
    worker = PlainWorker(make(), 3, 7)
    for action in actions_for(env, 50):
        _, _, terminated, truncated, _ = env.step(action)
        worker.step(action)
        if terminated or truncated:
            env.reset()
    assert len(worker.finished) >= 3
    assert stored(buffer) == by_hand([worker])


def test_a_limit_outside_that_empties_the_buffer_is_told() -> None:
    meta = MultiEpisodeWrapper(ScriptedEnv((3,)), 3)
    model = small_model(meta)
    buffer = TrajectoryBuffer(model.spec, capacity=50, max_length=16)
    env = gym.wrappers.TimeLimit(BeliefObservationWrapper(meta, model, buffer=buffer), 5)

    def play(n_tasks: int) -> None:
        for _ in range(n_tasks):
            env.reset(seed=0)
            while not env.step(0)[3]:
                pass

    play(5)
    with pytest.warns(UserWarning, match="the buffer gets none"):
        env.reset()
    assert len(buffer) == 0


def test_a_reset_in_the_middle_forgets_the_running_trajectories() -> None:
    meta = vector.MultiEpisodeWrapper(scripted_vector((3,), (4,)), 2)
    model = small_model(meta)
    buffer = TrajectoryBuffer(model.spec, capacity=50, max_length=16)
    env = vector.ImaginaryRewardWrapper(meta, model, n_mixture=1, buffer=buffer)
    env.reset(seed=0)
    actions = np.zeros(2, np.int64)
    for _ in range(5):
        env.step(actions)
    env.reset(seed=0)
    for _ in range(6):
        env.step(actions)
    assert buffer.get(np.arange(len(buffer))).lengths.tolist() == [6]


def test_long_meta_episodes_keep_their_first_steps() -> None:
    meta = MultiEpisodeWrapper(ScriptedEnv((5,)), 3)
    model = small_model(meta)
    buffer = TrajectoryBuffer(model.spec, capacity=5, max_length=7)
    env = BeliefObservationWrapper(meta, model, buffer=buffer)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match=r"more than the 7 steps.*max_length") as said:
        for _ in range(15):
            env.step(0)
    assert len(said) == 1
    steps = buffer.get(np.array([0])).next_observations[:, 0, 2]
    assert steps.tolist() == [1, 2, 3, 4, 5, 1, 2]


def test_a_buffer_of_other_spaces_is_refused() -> None:
    env = scripted_vector((3,), (4,))
    meta = vector.MultiEpisodeWrapper(env, 1)
    other = small_model(scripted_vector((3,), action="box"))
    buffer = TrajectoryBuffer(other.spec, capacity=5, max_length=7)
    with pytest.raises(ValueError, match=r"stores .*action_columns=2.* reads .*n_actions=3"):
        vector.ImaginaryRewardWrapper(meta, small_model(env), n_mixture=1, buffer=buffer)

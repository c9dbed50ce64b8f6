"""Where a mixture worker stands among single environments does not change what it earns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from ldm_wrappers import (
    BeliefPool,
    BeliefPublisherWrapper,
    ImaginaryRewardWrapper,
    LatentDynamics,
    LatentDynamicsConfig,
    TrajectoryBuffer,
)
from ldm_wrappers.latent_dynamics import LatentDynamicsTrainer
from ldm_wrappers.sb3 import LatentDynamicsCallback, NormalizeWithRealReturns
from ldm_wrappers.vector import ImaginaryRewardWrapper as VectorImaginaryRewardWrapper

LENGTHS = (3, 5, 4)  # of the tasks of the two normal workers and of the mixture worker
ORDERS = [(0, 1, 2), (2, 0, 1), (0, 2, 1)]
N_STEPS = 30


class Ramp(gym.Env[Any, Any]):
    """Shows and pays how far a task of a fixed length has come."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space: Any = spaces.Discrete(2)

    def __init__(self, length: int) -> None:
        self.length, self.t = length, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        shown = np.full(1, self.t / self.length, np.float32)
        return shown, float(self.t), False, self.t >= self.length, {}


class Fixed:
    """The same weights for every imaginary task."""

    def sample(self, rng: Any, n_mixture: int, n_normal: int, latent_dim: int) -> Any:
        return np.tile(np.array([[0.7], [0.3]], np.float32), (n_mixture, 1, 1))


def model_of_ramps() -> LatentDynamics:
    config = LatentDynamicsConfig(latent_dim=2, p_drop=0.0)
    return LatentDynamics(Ramp.observation_space, Ramp.action_space, config, seed=0)


def makers(
    model: LatentDynamics, buffer: TrajectoryBuffer | None = None
) -> list[Callable[[], Any]]:
    pool = BeliefPool(2, 2)
    return [
        lambda: BeliefPublisherWrapper(Ramp(LENGTHS[0]), model, pool, 0, buffer=buffer),
        lambda: BeliefPublisherWrapper(Ramp(LENGTHS[1]), model, pool, 1, buffer=buffer),
        lambda: ImaginaryRewardWrapper(Ramp(LENGTHS[2]), model, pool, mixture=Fixed()),
    ]


@pytest.fixture(scope="module")
def expected() -> list[float]:
    """The rewards of the mixture worker, by the vector wrapper."""
    batch = SyncVectorEnv(
        [lambda n=n: Ramp(n) for n in LENGTHS], autoreset_mode=AutoresetMode.SAME_STEP
    )
    env = VectorImaginaryRewardWrapper(batch, model_of_ramps(), n_mixture=1, mixture=Fixed())
    env.reset()
    return [float(env.step(np.zeros(3, np.int64))[1][2]) for _ in range(N_STEPS)]


def batch_of(kind: str, order: Sequence[int]) -> Any:
    workers = makers(model_of_ramps())
    ordered = [workers[index] for index in order]
    if kind == "DummyVecEnv":
        return DummyVecEnv(ordered)
    return SyncVectorEnv(ordered, autoreset_mode=AutoresetMode.SAME_STEP)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["DummyVecEnv", "SyncVectorEnv"])
def test_beliefs_are_those_from_before_the_step(
    kind: str, order: Sequence[int], expected: list[float]
) -> None:
    """Publishers that have stepped, ended or been restarted before the mixture worker's turn."""
    batch = batch_of(kind, order)
    batch.reset()
    row = order.index(2)
    paid = [float(batch.step(np.zeros(3, np.int64))[1][row]) for _ in range(N_STEPS)]
    np.testing.assert_allclose(paid, expected, atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_a_reset_of_all_begins_anew_whatever_was_stepped_alone(
    order: Sequence[int], expected: list[float]
) -> None:
    batch = batch_of("DummyVecEnv", order)
    batch.reset()
    for env in [batch.envs[order.index(2)], batch.envs[order.index(0)]]:
        env.step(0)
    batch.reset()
    row = order.index(2)
    paid = [float(batch.step(np.zeros(3, np.int64))[1][row]) for _ in range(N_STEPS)]
    np.testing.assert_allclose(paid, expected, atol=1e-6)


def watched(workers: Sequence[Any]) -> list[Any]:
    """The beliefs that the mixture worker mixes, noted at each of its steps."""
    mixed: list[Any] = []
    imagination = next(
        one.imagination for one in workers if isinstance(one, ImaginaryRewardWrapper)
    )
    rewards = imagination.rewards

    def note(means: Any, *transition: Any) -> Any:
        mixed.append(means.numpy().copy())
        return rewards(means, *transition)

    imagination.rewards = note  # type: ignore[method-assign]
    return mixed


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("mode", "limits"),
    [
        (AutoresetMode.SAME_STEP, ()),
        (AutoresetMode.SAME_STEP, (2, 2, 2)),
        (AutoresetMode.SAME_STEP, (2, 4, 3)),
        (AutoresetMode.NEXT_STEP, ()),
        (AutoresetMode.NEXT_STEP, (2, 2, 2)),
    ],
)
def test_in_every_autoreset_mode_beliefs_are_those_published_before_the_step(
    order: Sequence[int], mode: AutoresetMode, limits: tuple[int, ...]
) -> None:
    """Also where a limit outside ends tasks, of which a publisher hears at its reset only."""
    workers = makers(model_of_ramps())
    if limits:
        workers = [
            lambda make=make, n=n: gym.wrappers.TimeLimit(make(), n)
            for make, n in zip(workers, limits, strict=True)
        ]
    batch = SyncVectorEnv([workers[index] for index in order], autoreset_mode=mode)
    layers = [env.env if limits else env for env in batch.envs]
    pool = layers[order.index(0)].pool
    mixed = watched(layers)
    batch.reset()
    for _ in range(N_STEPS):
        before, known = pool.means(0), len(mixed)
        batch.step(np.zeros(3, np.int64))
        if len(mixed) > known:  # the mixture worker stepped
            np.testing.assert_array_equal(mixed[-1], before)


@pytest.mark.parametrize("order", ORDERS)
def test_workers_that_were_stepped_alone_before_change_no_later_round(order: Sequence[int]) -> None:
    batch = batch_of("SyncVectorEnv", order)
    mixed = watched(batch.envs)
    batch.reset()
    pool = batch.envs[order.index(0)].pool
    for row in sorted((order.index(0), order.index(2))):
        batch.envs[row].step(0)
    for _ in range(2):
        before = pool.means(0)
        batch.step(np.zeros(3, np.int64))
        np.testing.assert_array_equal(mixed[-1], before)


def test_a_worker_that_steps_alone_mixes_what_was_published_since_its_last_step() -> None:
    model, pool = model_of_ramps(), BeliefPool(1, 2)
    publisher = BeliefPublisherWrapper(Ramp(50), model, pool, 0)
    worker = ImaginaryRewardWrapper(Ramp(50), model, pool)
    mixed = watched([worker])
    for env in (publisher, worker):
        env.reset()
    prior = pool.means(0)
    for env in (publisher, worker, worker):
        env.step(0)
    np.testing.assert_array_equal(mixed[0], prior)
    np.testing.assert_array_equal(mixed[1], pool.means(0))
    assert (pool.means(0) != prior).any()


def test_a_worker_that_joins_in_the_middle_of_a_round_mixes_what_the_others_mix() -> None:
    model, pool = model_of_ramps(), BeliefPool(1, 2)
    publisher = BeliefPublisherWrapper(Ramp(50), model, pool, 0)
    workers = [ImaginaryRewardWrapper(Ramp(50), model, pool)]
    for env in (publisher, *workers):
        env.reset()
    for env in (publisher, *workers, publisher):
        env.step(0)
    workers.append(ImaginaryRewardWrapper(Ramp(50), model, pool))
    workers[1].reset()
    mixed = [watched([worker]) for worker in workers]
    for env in (*workers, *[publisher, *workers] * 3):
        env.step(0)
    np.testing.assert_array_equal(*mixed)


class Picky(Ramp):
    """Refuses the action 1."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if action == 1:
            raise ValueError("refused")
        return super().step(action)


@pytest.mark.parametrize("refused", [0, 1])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_refused_action_that_is_taken_again_changes_no_beliefs(
    refused: int, order: Sequence[int]
) -> None:
    model, pool = model_of_ramps(), BeliefPool(1, 2)
    workers: list[Any] = [
        BeliefPublisherWrapper(Picky(50), model, pool, 0),
        ImaginaryRewardWrapper(Picky(50), model, pool),
    ]
    mixed = watched(workers)
    for index in order:
        workers[index].reset()
    for step in range(6):
        before = pool.means(0)
        for index in order:
            if step == 2 and index == refused:
                with pytest.raises(ValueError, match="refused"):
                    workers[index].step(1)
            workers[index].step(0)
        np.testing.assert_array_equal(mixed[-1], before)


@pytest.mark.parametrize("order", ORDERS)
def test_after_an_update_tasks_mix_beliefs_of_the_new_weights(order: Sequence[int]) -> None:
    """Those that were published before it are published again as a rollout begins."""
    model = model_of_ramps()
    buffer = TrajectoryBuffer(model.spec, capacity=10, max_length=5)
    workers = makers(model, buffer)
    vec_env = DummyVecEnv([workers[index] for index in order])
    seen: list[tuple[Any, Any]] = []
    publishers = [vec_env.envs[order.index(index)] for index in (0, 1)]

    class Look(LatentDynamicsCallback):
        def _on_rollout_start(self) -> None:
            super()._on_rollout_start()
            now = [one.tracker.posterior().mean[0].cpu().numpy() for one in publishers]
            seen.append((publishers[0].pool.means(0), np.stack(now)))

    trainer = LatentDynamicsTrainer(model, buffer, learning_rate=0.1)
    PPO("MlpPolicy", vec_env, n_steps=7, batch_size=21, n_epochs=1).learn(63, Look(trainer, 3))
    assert len(seen) == 3
    for pool, now in seen:
        np.testing.assert_array_equal(pool, now)


def test_real_returns_need_the_mixture_workers_last() -> None:
    batch = batch_of("DummyVecEnv", (0, 1, 2))
    assert NormalizeWithRealReturns(batch, n_normal=2).n_normal == 2
    assert NormalizeWithRealReturns(batch, n_normal=3).n_normal == 3  # all count
    for order in [(2, 0, 1), (0, 2, 1)]:
        batch = batch_of("DummyVecEnv", order)
        with pytest.raises(ValueError, match=rf"workers \[{order.index(2)}\] earn imaginary"):
            NormalizeWithRealReturns(batch, n_normal=2)

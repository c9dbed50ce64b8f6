"""Seeds of workers: independent streams, whoever derives them."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from reference_models import small_model
from wrapper_stubs import ScriptedEnv, scripted_vector, seeds_of

import ldm_envs  # noqa: F401
from ldm_envs.options import parse_seeds
from ldm_wrappers import vector
from ldm_wrappers.arguments import worker_seeds
from ldm_wrappers.sb3 import VectorEnvAdapter, imagine


def batch(kind: str, n: int) -> Any:
    if kind == "batched":
        return gym.make_vec("LDM-HalfCheetahVel-v0", n, autoreset_mode="Disabled")
    make = [lambda: gym.make("LDM-HalfCheetahVel-v0")] * n
    return SyncVectorEnv(make, autoreset_mode=AutoresetMode.DISABLED)


def tasks(env: Any, seed: int) -> set[float]:
    return set(env.reset(seed=seed)[1]["task"][:, 0].tolist())


@pytest.mark.parametrize("kind", ["batched", "sync"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_neighbouring_seeds_share_no_task(kind: str, wrapped: bool) -> None:
    if kind == "sync" and not wrapped:
        pytest.skip("Gymnasium's own rule is seed + i")
    env = batch(kind, 16)
    if wrapped:
        env = vector.MultiEpisodeWrapper(env, 2)
    drawn = [tasks(env, seed) for seed in range(5)]
    assert all(len(one) == 16 for one in drawn)
    for one, other in itertools.combinations(drawn, 2):
        assert not one & other
    assert tasks(env, 3) == drawn[3]


def test_no_worker_of_a_hundred_runs_has_the_seed_of_another() -> None:
    seeds = [seed for run in range(100) for seed in worker_seeds(run, 64)]
    assert len(set(seeds)) == 6400
    assert all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize("seed", [0, 5, np.int32(7), np.array(9), 2**80])
def test_batches_wrappers_and_adapter_agree(seed: Any) -> None:
    expected = seeds_of(int(seed), 3)
    assert worker_seeds(seed, 3) == parse_seeds(seed, 3) == expected
    assert worker_seeds(seed, 5)[:3] == expected
    base = gym.make_vec("LDM-GridNavi-v0", 3, autoreset_mode="Disabled")
    env = vector.RL2ObservationWrapper(vector.MultiEpisodeWrapper(base, 2))
    env.reset(seed=seed)
    assert base.np_random_seed == tuple(expected)
    adapter = VectorEnvAdapter(env)
    assert list(adapter.seed(seed)) == expected
    base.reset(seed=123)
    adapter.reset()
    assert base.np_random_seed == tuple(expected)


@pytest.mark.parametrize("name", ["MultiEpisode", "RL2Observation", "belief", "imaginary"])
def test_every_wrapper_hands_streams_to_foreign_batches(name: str) -> None:
    meta = vector.MultiEpisodeWrapper(scripted_vector((2,), (2,), (2,)), 1)
    env: Any = meta
    if name == "RL2Observation":
        env = vector.RL2ObservationWrapper(meta)
    elif name == "belief":
        env = vector.BeliefObservationWrapper(meta, small_model(meta))
    elif name == "imaginary":
        env = vector.ImaginaryRewardWrapper(meta, small_model(meta), n_mixture=1)
    infos = env.reset(seed=np.int64(4))[1]
    for i, seed in enumerate(seeds_of(4, 3)):
        assert infos["task"][i] == ScriptedEnv().reset(seed=seed)[1]["task"]
    same = env.reset(seed=[7, None, 8])[1]["task"]
    assert same[0] == ScriptedEnv().reset(seed=7)[1]["task"]
    assert same[2] == ScriptedEnv().reset(seed=8)[1]["task"]


@pytest.mark.parametrize("options", [None, {"keep_task": np.zeros(3, bool)}])
def test_rows_of_tasks_have_streams_too(options: Any) -> None:
    env = vector.TaskRowsWrapper(scripted_vector((2,), (2,), (2,)))
    infos = env.reset(seed=4, options=options)[1]
    for i, seed in enumerate(seeds_of(4, 3)):
        assert infos["task"][i] == ScriptedEnv().reset(seed=seed)[1]["task"]


def test_the_seed_of_imagine_may_be_that_of_the_agent() -> None:
    callback = imagine(
        lambda: ScriptedEnv((3,)),
        n_episodes=1,
        n_mixture=1,
        num_envs=4,
        max_episode_steps=3,
        seed=7,
    )[1]
    own = callback.trainer.buffer.state_dict()["rng"]["state"]
    for seed in worker_seeds(7, 100):
        assert np.random.default_rng(seed).bit_generator.state["state"] != own


def test_without_a_seed_runs_differ() -> None:
    adapters = [VectorEnvAdapter(batch_of_grids()) for _ in range(2)]
    assert adapters[0].seed() != adapters[1].seed()


def batch_of_grids() -> Any:
    base = gym.make_vec("LDM-GridNavi-v0", 4, autoreset_mode="Disabled")
    return vector.RL2ObservationWrapper(vector.MultiEpisodeWrapper(base, 1))


@pytest.mark.parametrize("seed", [-1, 1.5, "3", True, np.array(2.0), np.bool_(True)])
def test_other_seeds_are_refused(seed: Any) -> None:
    with pytest.raises(ValueError, match="seed must be"):
        vector.MultiEpisodeWrapper(scripted_vector((2,)), 1).reset(seed=seed)

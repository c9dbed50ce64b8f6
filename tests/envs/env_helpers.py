"""Shared by the environment tests: comparison of nested results, and a few ways to step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

import ldm_envs  # noqa: F401  (registers the ids)


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Bit-for-bit equality of nested dicts, tuples and arrays, dtypes included."""
    if isinstance(a, dict):
        assert isinstance(b, dict) and set(a) == set(b), (where, sorted(a), sorted(b))
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    elif isinstance(a, np.ndarray) and a.dtype == object:
        assert_same(list(a), list(b), where)
    elif a is None or b is None:
        assert a is None and b is None, (where, a, b)
    else:
        x, y = np.asarray(a), np.asarray(b)
        assert x.dtype == y.dtype and x.shape == y.shape, (where, x.dtype, y.dtype, x.shape)
        assert np.array_equal(x, y, equal_nan=x.dtype.kind == "f"), (where, x, y)


def arrays_in(value: Any) -> list[np.ndarray]:
    """All arrays in a nested result."""
    if isinstance(value, dict):
        return [array for one in value.values() for array in arrays_in(one)]
    if isinstance(value, (tuple, list)):
        return [array for one in value for array in arrays_in(one)]
    if isinstance(value, np.ndarray) and value.dtype == object:
        return arrays_in(list(value))
    return [value] if isinstance(value, np.ndarray) else []


def sample_actions(env: gym.vector.VectorEnv, steps: int, seed: int = 0) -> np.ndarray:
    """(steps, num_envs, ...) random actions, seeded, leaving the env's spaces alone."""
    rng = np.random.default_rng(seed)
    space = env.single_action_space
    if isinstance(space, gym.spaces.Discrete):
        return rng.integers(space.n, size=(steps, env.num_envs))
    shape = (steps, env.num_envs, *space.shape)
    return rng.uniform(space.low, space.high, size=shape).astype(np.float32)


def one_task(env_id: str, split: str, seed: int = 0) -> np.ndarray:
    """A task of the split."""
    env = gym.make(env_id)
    sets = env.unwrapped.task_distribution
    env.close()
    return sets[split].sample(np.random.default_rng(seed), 1)[0]

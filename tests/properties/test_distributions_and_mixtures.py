"""Task distributions and mixture weights, for any seed and size."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ldm_envs  # noqa: F401
from ldm_wrappers import DirichletMixture

IDS = sorted(id for id in gym.registry if id.startswith("LDM-"))
seeds = st.integers(0, 2**32 - 1)


def distribution(env_id: str):  # type: ignore[no-untyped-def]
    env = gym.make(env_id)
    env.close()
    return env.unwrapped.task_distribution  # type: ignore[attr-defined]


@pytest.mark.parametrize("env_id", IDS)
@given(seed=seeds, n=st.integers(1, 50))
@settings(max_examples=25, deadline=None)
def test_samples_lie_in_their_split_and_in_no_other(env_id: str, seed: int, n: int) -> None:
    family = distribution(env_id)
    for split in family.splits:
        tasks = family[split].sample(np.random.default_rng(seed), n)
        again = family[split].sample(np.random.default_rng(seed), n)
        assert tasks.shape == (n, family.task_dim) and tasks.dtype == np.float32
        np.testing.assert_array_equal(tasks, again)
        assert family[split].contains(tasks).all() and family["all"].contains(tasks).all()
        np.testing.assert_array_equal(family.validate(tasks, (n,)), tasks)
        if split == "train":
            for other in set(family.splits) - {"train", "all"}:
                assert not family[other].contains(tasks).any()
        one_by_one = [bool(family[split].contains(task)) for task in tasks]
        assert all(one_by_one)


@pytest.mark.parametrize("env_id", IDS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_what_validate_takes_is_what_all_contains(env_id: str, data: st.DataObject) -> None:
    family = distribution(env_id)
    values = st.floats(-10, 400, width=32)
    task = data.draw(st.lists(values, min_size=family.task_dim, max_size=family.task_dim))
    inside = bool(family["all"].contains(np.array(task, np.float32)))
    if inside:
        np.testing.assert_array_equal(family.validate(task), np.array(task, np.float32))
    else:
        with pytest.raises(ValueError):
            family.validate(task)
    assert inside or not any(
        bool(family[split].contains(np.array(task, np.float32))) for split in family.splits
    )


@given(
    seed=seeds,
    beta=st.floats(0.01, 50.0),
    n=st.integers(1, 30),
    components=st.none() | st.integers(1, 40),
    per_dimension=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_weights_sum_to_one_within_their_bounds(
    seed: int, beta: float, n: int, components: int | None, per_dimension: bool
) -> None:
    scheme = DirichletMixture(beta, components, per_dimension)
    if components is not None and components > n:
        with pytest.raises(ValueError, match=f"number of beliefs, {n}, got {components}"):
            scheme.sample(np.random.default_rng(seed), 4, n, 3)
        return
    weights = scheme.sample(np.random.default_rng(seed), 4, n, 3).astype(np.float64)
    assert weights.shape == (4, n, 3 if per_dimension else 1)
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-5 * max(1.0, beta))
    taking_part = components or n
    low, high = -(beta - 1.0) / taking_part, beta - (beta - 1.0) / taking_part
    tolerance = 1e-5 * max(1.0, beta)
    assert weights.min() >= min(low, 0.0) - tolerance
    assert weights.max() <= max(high, 0.0) + tolerance
    part = (weights != 0).any(2).sum(1)
    assert (part <= taking_part).all()
    np.testing.assert_array_equal(
        weights, scheme.sample(np.random.default_rng(seed), 4, n, 3).astype(np.float64)
    )


@given(seed=seeds, beta=st.floats(0.1, 5.0))
@settings(max_examples=20, deadline=None)
def test_no_belief_is_preferred(seed: int, beta: float) -> None:
    """Permuting the beliefs permutes the weights' distribution: all have one mean and spread."""
    weights = DirichletMixture(beta, 3).sample(np.random.default_rng(seed), 20_000, 6, 1)[..., 0]
    np.testing.assert_allclose(weights.mean(0), 1 / 6, atol=0.02 * max(1.0, beta))
    np.testing.assert_allclose(weights.std(0), weights.std(), rtol=0.05)

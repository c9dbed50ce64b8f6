"""Saved beliefs: what is mixed and paid where the caller does not say."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference_models import small_model
from wrapper_stubs import ScriptedEnv

from ldm_wrappers import BeliefPool, DirichletMixture, ImaginaryRewardWrapper, SavedBeliefs
from ldm_wrappers.imagination import ExpectedReward


def means(n: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(n, 3, 3)).astype(np.float32)


def wrapped(beliefs: Any, **kwargs: Any) -> ImaginaryRewardWrapper:
    env = ScriptedEnv()
    return ImaginaryRewardWrapper(env, small_model(env), beliefs, **kwargs)


def spread(env: ImaginaryRewardWrapper) -> float:
    """Standard deviation of imaginary latents relative to that of the beliefs."""
    beliefs, latents = env.beliefs.means(0), []
    for seed in range(100):
        env.reset(seed=seed)
        latents.append(env.imagination.latents(torch.from_numpy(beliefs)).numpy()[0])
    return float((np.std(latents, 0) / beliefs.std(0)).mean())


@pytest.mark.parametrize("n", [40, 500])
def test_many_beliefs_of_no_run_are_mixed_a_few_at_a_time(n: int) -> None:
    few = spread(wrapped(SavedBeliefs(means(n))))
    assert few == pytest.approx(np.sqrt(0.5), abs=0.12)  # Σα² of three components: 1/2
    assert spread(wrapped(SavedBeliefs(means(n)), mixture=DirichletMixture())) < 0.4


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_a_few_are_all_mixed(n: int) -> None:
    wrapped(SavedBeliefs(means(n))).reset(seed=0)


@pytest.mark.parametrize("mixture", [DirichletMixture(2.0, 5), DirichletMixture(1.0, 1)])
def test_the_runs_schemes_are_the_default(mixture: DirichletMixture, tmp_path: Path) -> None:
    scheme = ExpectedReward(n_dropout_masks=3)
    SavedBeliefs(means(30), mixture, scheme).save(tmp_path / "beliefs.safetensors")
    loaded = SavedBeliefs.load(tmp_path / "beliefs.safetensors")
    one = wrapped(loaded)
    other = wrapped(SavedBeliefs(means(30)), mixture=mixture, imagination=scheme)
    given = wrapped(loaded, mixture=DirichletMixture(1.0, 2))
    weights = []
    for env in (one, other, given):
        env.reset(seed=3)
        weights.append(env.imagination.weights)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert int((weights[0] != 0).any(-1).sum()) == mixture.n_components


def test_a_run_that_does_not_say_how_many_it_mixed_is_a_warning(tmp_path: Path) -> None:
    """As files of former runs: all of hundreds of saved beliefs are nearly one task."""
    saved = DirichletMixture(beta=1.5)
    SavedBeliefs(means(256), saved).save(tmp_path / "beliefs.safetensors")
    beliefs = SavedBeliefs.load(tmp_path / "beliefs.safetensors")
    for given in (None, beliefs.mixture):
        with pytest.warns(UserWarning, match=r"β = 1.5.*all 256 saved.*replace\(beliefs.mixture"):
            near = wrapped(beliefs, mixture=given)
    with warnings.catch_warnings():  # what the message says
        warnings.simplefilter("error")
        few, every = (
            wrapped(beliefs, mixture=dataclasses.replace(saved, n_components=n)) for n in (5, 256)
        )
        wrapped(SavedBeliefs(means(256)))
        wrapped(SavedBeliefs(means(256)), mixture=DirichletMixture())  # the caller's own choice
    assert spread(few) > 3 * spread(every) and spread(near) == pytest.approx(spread(every))


def test_a_pool_is_mixed_whole_as_in_the_paper() -> None:
    env = wrapped(BeliefPool(9, 3))
    env.reset(seed=0)
    assert bool((env.imagination.weights != 0).all())

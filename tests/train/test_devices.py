"""Training, resuming and evaluating on a second device, which is emulated here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emulated_device import emulated_device
from packaging.version import Version
from plane_env import plane
from plane_runs import BASES, configuration, outcome
from tiny_runs import main

from ldm_wrappers import (
    BeliefObservationWrapper,
    ImaginaryRewardWrapper,
    LatentDynamics,
    LatentDynamicsConfig,
    MultiEpisodeWrapper,
    PlausibleTasks,
    SavedBeliefs,
)
from train import evaluate
from train.persistence.files import read_csv

QUICK = {"ldm", "ldm, moments", "mixreg", "ldm-varibad", "promp", "pearl", "mql", "mier"}
pytestmark = [
    pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter"),
    pytest.mark.filterwarnings("ignore:the mixture draws"),
]


@pytest.fixture(autouse=True)
def plane_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)
    monkeypatch.setenv("LDM_TRUST_MODULES", "plane_env")


@pytest.mark.parametrize(
    "base", [b if b in QUICK else pytest.param(b, marks=pytest.mark.slow) for b in BASES]
)
def test_a_run_is_the_run_on_the_cpu(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configuration(base, device="cpu")
    expected = outcome(config, tmp_path / "cpu")
    with emulated_device(monkeypatch) as device:
        found = outcome(dataclasses.replace(config, device=device), tmp_path / device)
    assert_close(found, expected)


@pytest.mark.parametrize("base", ["ldm-varibad", "e-maml", "mier"])
@pytest.mark.parametrize("begun_on", ["cpu", "meta"])
def test_a_run_goes_on_and_is_evaluated(
    base: str, begun_on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = in_two_halves(base, tmp_path / "cpu", "cpu", "cpu")
    with emulated_device(monkeypatch) as device:
        found = in_two_halves(base, tmp_path / device, begun_on, device)
    assert_close(found, expected)


def in_two_halves(base: str, path: Path, first: str, second: str) -> Any:
    """The evaluation on ``second`` of a run that was begun on ``first`` and goes on there."""
    config = configuration(base, device=first)
    half = dataclasses.replace(config, total_timesteps=config.total_timesteps // 2)
    outcome(half, path)
    flags = ["--resume", str(path), "--total-timesteps", str(config.total_timesteps)]
    assert main([*flags, "--device", second]) == 0
    assert evaluate.main([str(path), "--device", second]) == 0
    return read_csv(path / "evaluation" / "summary.csv")


@pytest.mark.skipif(
    Version(torch.__version__) < Version("2.6"),
    reason="there orthogonal_ transposes in place, which the emulation does not follow",
)
@pytest.mark.parametrize("saved_on", ["cpu", "meta"])
def test_wrappers_around_a_model_and_saved_beliefs(
    saved_on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewards of imaginary tasks and beliefs, single and batched, as on the CPU."""
    expected = rewards_and_beliefs(tmp_path / "cpu", "cpu", "cpu")
    with emulated_device(monkeypatch) as device:
        found = rewards_and_beliefs(tmp_path / device, saved_on, device)
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-3, atol=1e-4)


def rewards_and_beliefs(path: Path, saved_on: str, device: str) -> list[np.ndarray[Any, Any]]:
    """What a single environment's wrappers return over two episodes of random actions."""
    env = MultiEpisodeWrapper(plane(), n_episodes=2)
    gaussian, bernoulli = (
        saved_and_loaded(env, likelihood, path, saved_on, device)
        for likelihood in ("gaussian", "bernoulli")
    )
    beliefs = SavedBeliefs(np.random.default_rng(0).normal(size=(4, 11, 3)))
    wrapped = [
        ImaginaryRewardWrapper(env, gaussian, beliefs, seed=0),
        ImaginaryRewardWrapper(env, bernoulli, beliefs, imagination=PlausibleTasks(), seed=0),
        BeliefObservationWrapper(env, gaussian),
    ]
    found = []
    for one in wrapped:
        observation, _ = one.reset(seed=1)
        one.action_space.seed(2)
        for _ in range(10):
            found.append(np.asarray(observation))
            observation, reward, *_ = one.step(one.action_space.sample())
            found.append(np.asarray(reward))
    return found


def saved_and_loaded(
    env: Any, likelihood: Any, path: Path, saved_on: str, device: str
) -> LatentDynamics:
    small = LatentDynamicsConfig(
        latent_dim=3, encoder_hidden_size=6, decoder_hidden_sizes=(5,), likelihood=likelihood
    )
    made = LatentDynamics(env.observation_space, env.action_space, small, seed=0, device=saved_on)
    made.save(path)
    return LatentDynamics.load(path, device)


def assert_close(found: Any, expected: Any) -> None:
    """Equal but for the rounding of float32: on the CPU there is a GRU of its own."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_close(found[name], value)
    elif isinstance(expected, list) and expected and isinstance(expected[0], dict):
        for row, other in zip(found, expected, strict=True):
            assert_close(row, other)
    elif isinstance(expected, str):
        try:
            value = float(expected)
        except ValueError:
            assert found == expected
        else:
            assert float(found) == pytest.approx(value, rel=1e-3, abs=1e-4, nan_ok=True)
    elif expected is not None:
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)

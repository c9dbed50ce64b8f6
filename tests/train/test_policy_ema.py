"""The average of the policy's weights: its arithmetic, and that it is what is judged and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger
from tiny_runs import build, train_tiny

from train.common.artifacts import load_artifacts
from train.common.evaluation import Evaluator, evaluation_rows
from train.common.hooks import FiniteCheck
from train.config.presets import resolve
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder


def weights_after_updates(
    monkeypatch: pytest.MonkeyPatch, path: Path, *flags: str
) -> list[dict[str, Any]]:
    """Copies of all weights after each of four updates."""
    seen: list[dict[str, Any]] = []
    check = FiniteCheck.__call__

    def watch(self: FiniteCheck, iteration: int) -> None:
        check(self, iteration)
        policy = self.learner.algorithm.policy
        seen.append({name: value.numpy().copy() for name, value in policy.state_dict().items()})

    monkeypatch.setattr(FiniteCheck, "__call__", watch)
    fast = ["--learning-rate", "0.01", "--total-timesteps", "1920", "--eval-interval", "480"]
    train_tiny(path, "rl2", *fast, *flags)
    assert len(seen) == 4
    return seen


def test_what_is_evaluated_after_an_iteration_has_averaged_it() -> None:
    """The first average is the first update's weights, already in that iteration's hook."""
    small = {"n_workers": 2, "n_minibatches": 1, "device": "cpu", "max_episode_steps": 5}
    made = build(resolve("LDM-GridNavi-v0", "rl2", policy_ema_decay=0.5, n_steps=20, **small))
    made.set_logger(Logger(None, []))
    before = [value.clone() for value in made.algorithm.policy.parameters()]
    same: list[bool] = []

    def hook(iteration: int) -> None:
        pairs = zip(
            made.evaluated_policy.parameters(), made.algorithm.policy.parameters(), strict=True
        )
        same.append(all(torch.equal(one, other) for one, other in pairs))

    made.learn(40, hook)
    assert same == [True]
    assert not torch.equal(before[0], next(made.algorithm.policy.parameters()))
    made.close()


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_the_average_is_saved(
    decay: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    seen = weights_after_updates(monkeypatch, run, "--policy-ema-decay", str(decay))
    learner = load_artifacts(RunFolder.open(run))
    saved = learner.evaluated_policy.state_dict()
    for name, value in saved.items():
        expected = seen[0][name].astype(np.float64)
        for weights in seen[1:]:
            expected = decay * expected + (1.0 - decay) * weights[name]
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-6)
    learner.vec_env.close()


def test_the_average_is_judged_and_training_goes_on_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = weights_after_updates(monkeypatch, tmp_path / "plain", "--policy-ema-decay", "0")
    monkeypatch.undo()
    averaged = weights_after_updates(
        monkeypatch, tmp_path / "averaged", "--policy-ema-decay", "0.9"
    )
    for one, other in zip(plain, averaged, strict=True):
        assert all((one[name] == other[name]).all() for name in one)

    rows = {name: read_csv(tmp_path / name / "evaluations.csv") for name in ("plain", "averaged")}
    for run, own in rows.items():
        folder = RunFolder.open(tmp_path / run)
        learner = load_artifacts(folder)
        evaluator = Evaluator(learner)
        again = evaluation_rows(1920, evaluator.evaluate(learner.actor()))
        last = [row for row in own if row["timesteps"] == "1920"]
        assert [{k: str(v) for k, v in row.items()} for row in again] == last
        evaluator.close()
        learner.vec_env.close()
    assert rows["plain"] != rows["averaged"]

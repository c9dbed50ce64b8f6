"""PPO's ratio is 1 before the first step: whatever the update changes in a rollout, it is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_runs import main

from train.persistence.files import read_csv

ANT, GRID = "LDM-AntDir-v0", "LDM-GridNavi-v0"
METHODS = ("ldm", "rl2", "known-task", "mixreg", "varibad", "ldm-varibad")


@pytest.mark.parametrize(
    ("env_id", "method"), [*((ANT, method) for method in METHODS), (GRID, "ldm"), (GRID, "varibad")]
)
def test_a_policy_that_does_not_move_has_no_divergence(
    env_id: str, method: str, tmp_path: Path
) -> None:
    """Also in rollouts that begin within a task, and after updates of the VAE.

    Mixreg with continuous actions began with ratios of which a third were clipped.
    """
    text = f"--env-id {env_id} --method {method} --run-dir {tmp_path / 'run'} --device cpu"
    text += " --n-workers 4 --n-minibatches 2 --n-epochs 2 --learning-rate 1e-30 --log-interval 1"
    text += " --total-timesteps 3200"
    if method.startswith("ldm"):
        text += " --n-mixture-workers 1 --mixture.n-components 3 --vae-buffer-trajectories 50"
    assert main(text.split()) == 0
    rows = read_csv(tmp_path / "run" / "metrics.csv")
    largest = max(abs(float(row["train/approx_kl"])) for row in rows)
    clipped = max(float(row["train/clip_fraction"]) for row in rows)
    assert largest < 1e-6 and clipped == 0.0

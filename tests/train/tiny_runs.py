"""Runs of a second or two, trained through the command line as a user would."""

from __future__ import annotations

from pathlib import Path

from train.recurrent_ppo import main


def train_tiny(path: Path, method: str, *flags: str, env_id: str = "LDM-GridNavi-v0") -> Path:
    """Train a run of two updates in ``path`` and return it."""
    mixture = ["--n-mixture", "1", "--mixture-components", "3", "--vae-buffer-trajectories", "50"]
    common = ["--env-id", env_id, "--method", method, "--run-dir", str(path), "--device", "cpu"]
    sizes = [
        "--n-workers",
        "4",
        "--n-minibatches",
        "1",
        "--total-timesteps",
        "960",
        "--log-interval",
        "1",
    ]
    assert main([*common, *sizes, *(mixture if method == "ldm" else []), *flags]) == 0
    return path

"""Runs of a second or two, trained through the command line as a user would."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from train.config.methods import get_method
from train.persistence.run_folder import RunFolder


def main(arguments: list[str]) -> int:
    """Call the ``main`` of the script that trains ``--method``, or the run of ``--resume``."""
    method = "ldm"
    if "--method" in arguments:
        last = len(arguments) - 1 - arguments[::-1].index("--method")
        method = arguments[last + 1]
    elif "--resume" in arguments:
        method = RunFolder.open(arguments[arguments.index("--resume") + 1]).config.method
    return int(importlib.import_module(get_method(method).script).main(arguments))


def build(config: Any) -> Any:
    """The learner that a configuration's script builds."""
    return importlib.import_module(get_method(config.method).script).build(config)


def train_tiny(path: Path, method: str, *flags: str, env_id: str = "LDM-GridNavi-v0") -> Path:
    """Train a run of two updates in ``path`` and return it."""
    mixture = [
        "--n-mixture-workers",
        "1",
        "--mixture.n-components",
        "3",
        "--vae-buffer-trajectories",
        "50",
    ]
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

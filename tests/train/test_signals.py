"""Signals to the whole process group, as Ctrl-C in a terminal and ``timeout`` send them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_runs import main

from train.persistence.files import read_csv

FLAGS = ["--env-id", "CartPole-v1", "--method", "rl2", "--vectorization", "async"]
FLAGS += ["--max-episode-steps", "20", "--n-episodes", "2", "--n-steps", "40", "--n-workers", "3"]
FLAGS += ["--n-minibatches", "1", "--n-epochs", "1", "--eval-tasks", "1", "--log-interval", "1"]
FLAGS += ["--device", "cpu", "--num-threads", "1"]
FOR_EVER = ["--total-timesteps", "100000000", "--eval-interval", "100000000"]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_outlive_a_signal_to_the_group(number: signal.Signals, tmp_path: Path) -> None:
    """The iteration is ended with them, and its checkpoint is written."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", "train.recurrent_ppo", *FLAGS, *FOR_EVER]
    with subprocess.Popen(
        [*command, "--run-dir", str(run)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        metrics, patience = run / "metrics.csv", time.monotonic() + 120
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < patience:
            time.sleep(0.1)
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith(f"stopped by {number.name}: continue with")
    assert len(list((run / "checkpoints").iterdir())) == 1
    done = int(read_csv(metrics)[-1]["timesteps"])
    assert main(["--resume", str(run), "--total-timesteps", str(done + 240)]) == 0
    assert int(read_csv(metrics)[-1]["timesteps"]) == done + 240

"""Runs of processes that are killed at random moments end as whole ones (bar O8)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_runs import assert_same_run
from test_off_policy_runs import FLAGS, METHODS, SIZES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def start(method: str, *flags: str) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join((str(ROOT), str(HERE)))
    environment = {**os.environ, "PYTHONPATH": paths, "LDM_TRUST_MODULES": "line_env"}
    environment |= {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", f"train.{method}", *flags],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def newest(path: Path) -> str:
    return max((p.name for p in (path / "checkpoints").glob("step-*.safetensors")), default="")


def wait_for_a_checkpoint(process: subprocess.Popen[bytes], path: Path) -> None:
    """Until the process has written one of its own, or is over."""
    before = newest(path)
    while process.poll() is None and newest(path) == before:
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_three_times_ends_as_a_whole_one(method: str, tmp_path: Path) -> None:
    flags = [*FLAGS.split(), *SIZES[method].split(), "--total-timesteps", "2000"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(method, *flags, "--run-dir", str(whole))
    wait_for_a_checkpoint(process, whole)
    begin = time.monotonic()
    assert process.wait() == 0
    length = time.monotonic() - begin
    process, moments = start(method, *flags, "--run-dir", str(killed)), random.Random(0)
    kills = 0
    for _ in range(3):
        wait_for_a_checkpoint(process, killed)
        time.sleep(moments.uniform(0.0, 0.25) * length)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        process = start(method, "--resume", str(killed))
    assert process.wait() == 0
    assert kills == 3
    assert_same_run(killed, whole)
